"""Diagnose: question a running service from outside, by what every OpenAI-compatible embeddings server documents."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any

import httpx

from upsize.diagnostics import embedding_replies as replies
from upsize.diagnostics import rerank_replies as scores
from upsize.diagnostics.client import Client, StopError
from upsize.diagnostics.embedding_replies import BadReplyError, vectors_of
from upsize.diagnostics.findings import Finding, note, ok, wrong
from upsize.number_format import plain

QUERY = "What is the capital of China?"
OTHERS = ("A recipe for soup: onions, carrots, salt and patience.", "def add(a, b):\n    return a + b")
REPEATS = 5
LISTED = 5
"""Models of the service's list that are tried where none is named."""
ENDPOINTS = ("/embeddings", "/models", "/rerank", "/embed", "/health", "/completions", "/chat/completions")
NO_EMBEDDINGS = (400, 404, 405, 422)
"""What servers answer where a model, or a path, does not embed."""


@dataclass
class Diagnosis:
    """What was found, in the order in which it was looked for."""

    base_url: str
    model: str | None = None
    dimension: int | None = None
    fingerprint: str | None = None
    latency_ms: float | None = None
    """Median of a short request, from here, after the first."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not any(f.level == "wrong" for f in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"ok": self.ok}


def diagnose(
    base_url: str,
    *,
    model: str | None = None,
    api_key: str | None = None,
    dimensions: int | None = None,
    timeout: float = 30.0,
) -> Diagnosis:
    """Question the service whose OpenAI base URL this is, as `openai` would be given it, usually ending in /v1.

    `model` None takes the first that the service lists and that embeds; a reranker is asked to rank instead.
    `timeout` is in seconds, for one answer. Never raises for what the service does.
    """
    found = Diagnosis(base_url.rstrip("/"), model)
    try:
        with Client(found.base_url, api_key, timeout) as client:
            _ask(client, found, dimensions)
    except (StopError, BadReplyError) as end:
        found.findings.append(end.finding)
    return found


def _ask(client: Client, found: Diagnosis, dimensions: int | None) -> None:
    """Every question in turn."""
    for ending in ENDPOINTS:
        if found.base_url.endswith(ending):
            right = found.base_url.removesuffix(ending)
            raise StopError(wrong("wrong_path", f"{found.base_url} is an endpoint, not a base URL.", f"Use {right}."))
    _ready(client)
    listed = _listed(client)
    if listed:
        found.findings.append(note("models", f"Served: {', '.join(listed)}."))
    reply = _first(client, found, listed, dimensions)
    if reply.status_code in NO_EMBEDDINGS and _ranks(client, found):
        return
    if reply.status_code in (404, 405) or _is_page(reply):
        raise StopError(_lost(client, reply, found.model, listed))
    if reply.status_code != 200:
        raise StopError(_refused(client, reply, found.model, dimensions))
    vectors = vectors_of(reply.text, 1 + len(OTHERS))
    found.dimension = vectors.shape[1]
    found.findings.append(ok("reachable", f"{found.base_url} embeds with {found.model or 'its model'}."))
    found.findings += replies.judge_vectors(vectors, dimensions)
    again = _repeat(client, found, lambda: client.embed([QUERY], found.model, dimensions))
    alone = [vectors_of(r.text, 1)[0] for r in again]
    found.findings += replies.judge_repeats(alone, beside=vectors[0])
    _name_space(client, found)


def _ready(client: Client) -> None:
    """Stop where the service says itself that it is not ready. Servers without /health are none the worse."""
    reply = client.get("/health")
    if reply.status_code in (502, 503, 504):
        raise StopError(replies.refusal(reply.status_code, reply.text, model=None, key=client.key))


def _listed(client: Client) -> list[str]:
    """Names of the models, by /v1/models; none where the server has no such list."""
    reply = client.get("/v1/models")
    if reply.status_code in (401, 403):
        raise StopError(replies.refusal(reply.status_code, reply.text, model=None, key=client.key))
    try:
        return [str(item["id"]) for item in json.loads(reply.text)["data"]]
    except (ValueError, KeyError, TypeError):
        return []


def _first(client: Client, found: Diagnosis, listed: list[str], dimensions: int | None) -> httpx.Response:
    """The reply of the model asked for; or of the first listed one that embeds, and if none does of the first."""
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


def _ranks(client: Client, found: Diagnosis) -> bool:
    """Whether the model is a reranker; then it is questioned as one."""
    documents = list(scores.DOCUMENTS)

    def rank() -> httpx.Response:
        return client.rerank(scores.QUERY, documents, found.model)

    reply = rank()
    if reply.status_code != 200 or _is_page(reply):
        return False
    first = scores.scores_of(reply.text, len(documents))
    found.findings.append(ok("reachable", f"{found.base_url} ranks with {found.model or 'its model'}."))
    again = [scores.scores_of(r.text, len(documents)) for r in _repeat(client, found, rank)]
    found.findings += scores.judge_scores([first, *again])
    _name_space(client, found)
    return True


def _repeat(client: Client, found: Diagnosis, call: Callable[[], httpx.Response]) -> list[httpx.Response]:
    """The same short request several times, and how long it takes."""
    answers, seconds = [], []
    for _ in range(REPEATS):
        started = time.perf_counter()
        reply = call()
        seconds.append(time.perf_counter() - started)
        if reply.status_code != 200:
            raise StopError(replies.refusal(reply.status_code, reply.text, model=found.model, key=client.key))
        answers.append(reply)
    found.latency_ms = 1e3 * statistics.median(seconds)
    least, median, most = (plain(1e3 * s) for s in (min(seconds), statistics.median(seconds), max(seconds)))
    said = f"A short request takes {median} ms (median of {REPEATS}, one at a time; {least} to {most} ms)."
    found.findings.append(note("latency", said))
    return answers


def _lost(client: Client, reply: httpx.Response, model: str | None, listed: list[str]) -> Finding:
    """Whether a 404, or a page for people, means the model or the path."""
    message = replies.error_message(reply.text)
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


def _refused(client: Client, reply: httpx.Response, model: str | None, dimensions: int | None) -> Finding:
    """Why an embedding was refused; of the dimensions, where the same request without them is granted."""
    finding = replies.refusal(reply.status_code, reply.text, model=model, key=client.key)
    if finding.kind != "refused_request" or dimensions is None:
        return finding
    if client.embed([QUERY], model).status_code != 200:
        return finding
    message = replies.error_message(reply.text)
    advice = "Ask for one that the model gives, or for none."
    if "matryoshka" in message.lower():  # as vLLM and SGLang say of Qwen3, whose configuration does not declare it
        advice = (
            "Start it with --hf-overrides '{\"is_matryoshka\": true}' (vLLM) or --json-model-override-args (SGLang)."
        )
    said = f"The service refuses dimensions={dimensions} (HTTP {reply.status_code}: {message})."
    return wrong("wrong_dimension", said, advice)


def _name_space(client: Client, found: Diagnosis) -> None:
    found.findings += replies.judge_fingerprints(client.fingerprints)
    found.fingerprint = client.fingerprints[-1] if client.fingerprints else None


def _is_page(reply: httpx.Response) -> bool:
    return replies.is_html(reply.text, reply.headers.get("content-type", ""))
