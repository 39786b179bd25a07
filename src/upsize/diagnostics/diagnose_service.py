"""Diagnoses a running service from outside, with the API of OpenAI-compatible embeddings servers."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from upsize.diagnostics import embedding_replies, rerank_replies
from upsize.diagnostics.client import Client, StopError
from upsize.diagnostics.embedding_replies import BadReplyError, parse_vectors
from upsize.diagnostics.findings import Finding, note, ok, wrong
from upsize.number_format import plain

QUERY = "What is the capital of China?"
OTHERS = ("A recipe for soup: onions, carrots, salt and patience.", "def add(a, b):\n    return a + b")
REPEATS = 5
"""Equal requests that test determinism and latency. Chosen: done in a second on most services."""
LISTED = 5
"""Models of the service's list that are tried where the user names none. Chosen."""
ENDPOINTS = ("/embeddings", "/models", "/rerank", "/embed", "/health", "/completions", "/chat/completions")
NO_EMBEDDINGS = (400, 404, 405, 422)
"""Status codes that servers give where a model or a path does not embed."""


@dataclass
class Diagnosis:
    """The result of a diagnosis. The findings are in the order of the checks."""

    base_url: str
    model: str | None = None
    dimension: int | None = None
    fingerprint: str | None = None
    latency_ms: float | None = None
    """Median latency of a short request from this machine, without the first."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether no finding is `wrong`."""
        return not any(f.level == "wrong" for f in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"ok": self.ok}


def diagnose(
    base_url: str,
    *,
    model: str | None = None,
    api_key: str | None = None,
    dimensions: int | None = None,
    timeout: float = 30.0,
) -> Diagnosis:
    """Diagnose the service with this OpenAI base URL, which usually ends in /v1.

    With `model` None the first model that the service lists and that embeds is tested. A reranker is asked to rank
    instead. `timeout` is the limit for one answer in seconds. Nothing that the service does raises an exception.
    """
    found = Diagnosis(base_url.rstrip("/"), model)
    try:
        with Client(found.base_url, api_key, timeout) as client:
            _run_checks(client, found, dimensions)
    except (StopError, BadReplyError) as end:
        found.findings.append(end.finding)
    return found


def _run_checks(client: Client, found: Diagnosis, dimensions: int | None) -> None:
    for ending in ENDPOINTS:
        if found.base_url.endswith(ending):
            right = found.base_url.removesuffix(ending)
            raise StopError(wrong("wrong_path", f"{found.base_url} is an endpoint, not a base URL.", f"Use {right}."))
    _require_ready(client)
    listed = _list_models(client)
    if listed:
        found.findings.append(note("models", f"Served: {', '.join(listed)}."))
    reply = _first_reply(client, found, listed, dimensions)
    if reply.status_code in NO_EMBEDDINGS and _check_reranker(client, found):
        return
    if reply.status_code in (404, 405) or _is_page(reply):
        raise StopError(_explain_not_found(client, reply, found.model, listed))
    if reply.status_code != 200:
        raise StopError(_explain_refusal(client, reply, found.model, dimensions))
    vectors = parse_vectors(reply.text, 1 + len(OTHERS))
    found.dimension = vectors.shape[1]
    found.findings.append(ok("reachable", f"{found.base_url} embeds with {found.model or 'its model'}."))
    found.findings += embedding_replies.check_vectors(vectors, dimensions)
    again = _repeat(client, found, lambda: client.embed([QUERY], found.model, dimensions))
    alone = [parse_vectors(r.text, 1)[0] for r in again]
    found.findings += embedding_replies.check_repeats(alone, beside=vectors[0])
    _record_fingerprint(client, found)


def _require_ready(client: Client) -> None:
    """StopError where /health says that the service is not ready. Servers need not have /health."""
    reply = client.get("/health")
    if reply.status_code in (502, 503, 504):
        raise StopError(embedding_replies.refusal(reply.status_code, reply.text, model=None, key=client.key))


def _list_models(client: Client) -> list[str]:
    """Names of the models by /v1/models, or nothing where the server has no such list."""
    reply = client.get("/v1/models")
    if reply.status_code in (401, 403):
        raise StopError(embedding_replies.refusal(reply.status_code, reply.text, model=None, key=client.key))
    try:
        return [str(item["id"]) for item in json.loads(reply.text)["data"]]
    except (ValueError, KeyError, TypeError):
        return []


def _first_reply(client: Client, found: Diagnosis, listed: list[str], dimensions: int | None) -> httpx.Response:
    """The reply of the requested model, or else of the first listed model that embeds, or else of the first."""
    names: list[str | None] = [found.model] if found.model else [*listed[:LISTED]] or [None]
    answers = []
    for name in names:
        reply = client.embed([QUERY, *OTHERS], name, dimensions)
        answers.append((name, reply))
        if reply.status_code not in NO_EMBEDDINGS:
            found.model = name
            return reply
    found.model, reply = answers[0]
    return reply


def _check_reranker(client: Client, found: Diagnosis) -> bool:
    """Whether the model is a reranker. If so, it is tested as one."""
    documents = list(rerank_replies.DOCUMENTS)

    def rank() -> httpx.Response:
        return client.rerank(rerank_replies.QUERY, documents, found.model)

    reply = rank()
    if reply.status_code != 200 or _is_page(reply):
        return False
    first = rerank_replies.parse_scores(reply.text, len(documents))
    found.findings.append(ok("reachable", f"{found.base_url} ranks with {found.model or 'its model'}."))
    again = [rerank_replies.parse_scores(r.text, len(documents)) for r in _repeat(client, found, rank)]
    found.findings += rerank_replies.check_scores([first, *again])
    _record_fingerprint(client, found)
    return True


def _repeat(client: Client, found: Diagnosis, call: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """Send the same short request several times, and record its latency."""
    answers, seconds = [], []
    for _ in range(REPEATS):
        started = time.perf_counter()
        reply = call()
        seconds.append(time.perf_counter() - started)
        if reply.status_code != 200:
            raise StopError(embedding_replies.refusal(reply.status_code, reply.text, model=found.model, key=client.key))
        answers.append(reply)
    found.latency_ms = 1e3 * statistics.median(seconds)
    least, median, most = (plain(1e3 * s) for s in (min(seconds), statistics.median(seconds), max(seconds)))
    detail = f"A short request takes {median} ms (median of {REPEATS}, one at a time; {least} to {most} ms)."
    found.findings.append(note("latency", detail))
    return answers


def _explain_not_found(client: Client, reply: httpx.Response, model: str | None, listed: list[str]) -> Finding:
    """Whether the model or the path is wrong, after a 404 or a web page."""
    message = embedding_replies.error_message(reply.text)
    if reply.status_code == 404 and model is not None and (model in message or "model" in message.lower()):
        names = ", ".join(listed) or "it lists none"
        return wrong(
            "no_such_model", f"The service has no embedder {model!r} ({message}).", f"Use one it serves: {names}."
        )
    base = client.base_url
    other = client.root if base.endswith("/v1") else f"{base}/v1"
    what = "a web page" if _is_page(reply) else f"HTTP {reply.status_code}"
    elsewhere = (client.embed([QUERY], name, base=other) for name in (model, *listed[:LISTED]))
    if any(r.status_code == 200 and not _is_page(r) for r in elsewhere):
        return wrong("wrong_path", f"{base}/embeddings gives {what}; {other}/embeddings works.", f"Use {other}.")
    return wrong(
        "wrong_path",
        f"{base}/embeddings gives {what}, and {other}/embeddings does not work either.",
        "Is this the address of an embeddings service, and not of its web page or of a chat model?",
    )


def _explain_refusal(client: Client, reply: httpx.Response, model: str | None, dimensions: int | None) -> Finding:
    """Why the service refused to embed. If it embeds without `dimensions`, these are the reason."""
    finding = embedding_replies.refusal(reply.status_code, reply.text, model=model, key=client.key)
    if finding.kind != "refused_request" or dimensions is None:
        return finding
    if client.embed([QUERY], model).status_code != 200:
        return finding
    message = embedding_replies.error_message(reply.text)
    advice = "Request a dimension that the model supports, or none."
    if "matryoshka" in message.lower():  # vLLM and SGLang: the configuration of Qwen3 does not declare it
        advice = (
            "Start it with --hf-overrides '{\"is_matryoshka\": true}' (vLLM) or --json-model-override-args (SGLang)."
        )
    detail = f"The service refuses dimensions={dimensions} (HTTP {reply.status_code}: {message})."
    return wrong("wrong_dimension", detail, advice)


def _record_fingerprint(client: Client, found: Diagnosis) -> None:
    found.findings += embedding_replies.check_fingerprints(client.fingerprints)
    found.fingerprint = client.fingerprints[-1] if client.fingerprints else None


def _is_page(reply: httpx.Response) -> bool:
    return embedding_replies.is_html(reply.text, reply.headers.get("content-type", ""))
