"""Diagnose: question a running service from outside, by what every OpenAI-compatible embeddings server documents."""

from __future__ import annotations

import json
import statistics
import time
from dataclasses import asdict, dataclass, field
from types import TracebackType
from typing import Any, Self

import httpx

from upsize.measure import replies
from upsize.measure.findings import Finding, note, ok, unreachable, wrong
from upsize.measure.replies import BadReply, Doubles, vectors_of

QUERY = "What is the capital of China?"
OTHERS = ("A recipe for soup: onions, carrots, salt and patience.", "def add(a, b):\n    return a + b")
REPEATS = 5
ENDPOINTS = ("/embeddings", "/models", "/rerank", "/embed", "/health", "/completions", "/chat/completions")
FINGERPRINT = "x-upsize-fingerprint"


@dataclass
class Diagnosis:
    """What was found, in the order in which it was looked for."""

    base_url: str
    model: str | None = None
    dimension: int | None = None
    fingerprint: str | None = None
    latency_ms: float | None = None
    """Median of a short query, from here, after the first."""
    findings: list[Finding] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not any(f.level == "wrong" for f in self.findings)

    def to_json(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self) | {"ok": self.ok}


class _Stop(Exception):
    """Nothing more can be asked after this finding."""

    def __init__(self, finding: Finding) -> None:
        self.finding = finding
        super().__init__(finding.message)


def diagnose(
    base_url: str,
    *,
    model: str | None = None,
    api_key: str | None = None,
    dimensions: int | None = None,
    timeout: float = 30.0,
) -> Diagnosis:
    """Question the service whose OpenAI base URL this is, as `openai` would be given it, usually ending in /v1.

    `model` None takes the first that the service lists and that embeds. Never raises for what the service does.
    """
    found = Diagnosis(base_url.rstrip("/"), model)
    try:
        with _Probe(found, api_key, dimensions, timeout) as probe:
            probe.ask()
    except _Stop as stop:
        found.findings.append(stop.finding)
    except BadReply as bad:
        found.findings.append(bad.finding)
    return found


class _Probe:
    """One diagnosis under way."""

    def __init__(self, found: Diagnosis, api_key: str | None, dimensions: int | None, timeout: float) -> None:
        self.found, self.key, self.dimensions, self.timeout = found, api_key, dimensions, timeout
        headers = {"authorization": f"Bearer {api_key}"} if api_key else {}
        self.client = httpx.Client(headers=headers, timeout=httpx.Timeout(timeout, connect=min(timeout, 10.0)))
        self.fingerprints: list[str] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.client.close()

    def ask(self) -> None:
        """Every question in turn."""
        say = self.found.findings
        base = self.found.base_url
        for ending in ENDPOINTS:
            if base.endswith(ending):
                right = base.removesuffix(ending)
                raise _Stop(wrong("wrong_path", f"{base} is an endpoint, not a base URL.", f"Use {right}."))
        self.health()
        listed = self.listed()
        first = self.first(listed)
        self.found.dimension = first.shape[1]
        say.append(ok("reachable", f"{base} embeds with {self.found.model or 'its model'}."))
        say += replies.judge_vectors(first, self.dimensions)
        self.repeat(first[0])
        say += replies.judge_fingerprints(self.fingerprints)
        self.found.fingerprint = self.fingerprints[-1] if self.fingerprints else None

    @property
    def root(self) -> str:
        """The address without /v1."""
        return self.found.base_url.removesuffix("/v1")

    def send(self, method: str, url: str, body: dict[str, Any] | None = None) -> httpx.Response:
        """One call; where no answer comes, or it points elsewhere, nothing more can be asked."""
        try:
            reply = self.client.request(method, url, json=body)
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            limit = min(self.timeout, 10.0) if isinstance(error, httpx.ConnectTimeout) else self.timeout
            raise _Stop(unreachable(error, url, limit)) from None
        if reply.is_redirect:
            target = reply.headers.get("location", "")
            advice = f"Use the address it points to: {target}."
            raise _Stop(wrong("redirect", f"{url} answers with a redirect, which clients do not follow.", advice))
        return reply

    def health(self) -> None:
        """Stop where the service says itself that it is not ready. Servers without /health are none the worse."""
        reply = self.send("GET", f"{self.root}/health")
        if reply.status_code in (502, 503, 504):
            raise _Stop(replies.refusal(reply.status_code, reply.text, model=None, key=bool(self.key), dimensions=None))

    def listed(self) -> list[str]:
        """Names of the models, by /models; none where the server has no such list."""
        reply = self.send("GET", f"{self.root}/v1/models")
        if reply.status_code in (401, 403):
            raise _Stop(replies.refusal(reply.status_code, reply.text, model=None, key=bool(self.key), dimensions=None))
        try:
            names = [str(item["id"]) for item in json.loads(reply.text)["data"]]
        except (ValueError, KeyError, TypeError):
            names = []
        if names:
            self.found.findings.append(note("models", f"Served: {', '.join(names)}."))
        return names

    def first(self, listed: list[str]) -> Doubles:
        """The first vectors, of the model asked for or else of the first listed one that embeds."""
        wanted = [self.found.model] if self.found.model else (listed[:5] or [None])
        for place, name in enumerate(wanted):
            self.found.model = name
            reply = self.embed([QUERY, *OTHERS])
            if reply.status_code == 200 or place == len(wanted) - 1 or reply.status_code not in (400, 404, 422):
                break
        if reply.status_code in (404, 405) or replies.is_html(reply.text, reply.headers.get("content-type", "")):
            raise _Stop(self.lost(reply, listed))
        if reply.status_code != 200:
            finding = replies.refusal(
                reply.status_code,
                reply.text,
                model=self.found.model,
                key=bool(self.key),
                dimensions=self.dimensions,
            )
            if finding.kind == "refused_request" and self.dimensions is not None:
                finding = self.without_dimensions(finding)
            raise _Stop(finding)
        return vectors_of(reply.text, 1 + len(OTHERS))

    def lost(self, reply: httpx.Response, listed: list[str]) -> Finding:
        """Whether a 404, or a page for people, means the model or the path."""
        message = replies.error_message(reply.text)
        model = self.found.model
        if reply.status_code == 404 and model is not None and (model in message or "model" in message.lower()):
            names = ", ".join(listed) or "it lists none"
            return wrong(
                "no_such_model", f"The service has no model {model!r} ({message}).", f"Use one it serves: {names}."
            )
        base = self.found.base_url
        other = self.root if base.endswith("/v1") else f"{base}/v1"
        what = (
            "a web page"
            if replies.is_html(reply.text, reply.headers.get("content-type", ""))
            else (f"HTTP {reply.status_code}")
        )
        elsewhere = self.embed([QUERY], base=other)
        if elsewhere.status_code == 200 and not replies.is_html(elsewhere.text, ""):
            return wrong("wrong_path", f"{base}/embeddings gives {what}; {other}/embeddings works.", f"Use {other}.")
        return wrong(
            "wrong_path",
            f"{base}/embeddings gives {what}, and so does {other}/embeddings.",
            "Is this the address of an embeddings service, and not of its web page or of a chat model?",
        )

    def without_dimensions(self, refused: Finding) -> Finding:
        """The refusal, or that it was of the dimensions, where the same request without them is granted."""
        asked, self.dimensions = self.dimensions, None
        granted = self.embed([QUERY]).status_code == 200
        self.dimensions = asked
        if not granted:
            return refused
        return wrong("wrong_dimension", f"The service refuses dimensions={asked}: {refused.message}", "Leave them out.")

    def repeat(self, beside: Doubles) -> None:
        """The same short query several times: is it the same vector, and how long does it take?"""
        vectors, seconds = [], []
        for _ in range(REPEATS):
            started = time.perf_counter()
            reply = self.embed([QUERY])
            seconds.append(time.perf_counter() - started)
            if reply.status_code != 200:
                raise _Stop(
                    replies.refusal(
                        reply.status_code, reply.text, model=self.found.model, key=bool(self.key), dimensions=None
                    )
                )
            vectors.append(vectors_of(reply.text, 1)[0])
        self.found.findings += replies.judge_repeats(vectors, vectors[0], beside)
        self.found.latency_ms = 1e3 * statistics.median(seconds)
        self.found.findings.append(
            note("latency", f"A short query takes {self.found.latency_ms:.0f} ms (median of {REPEATS}, one at a time).")
        )

    def embed(self, texts: list[str], base: str | None = None) -> httpx.Response:
        """One call of the embeddings endpoint, as any client makes it."""
        body: dict[str, Any] = {"input": texts, "encoding_format": "float"}
        if self.found.model is not None:
            body["model"] = self.found.model
        if self.dimensions is not None:
            body["dimensions"] = self.dimensions
        reply = self.send("POST", f"{base or self.found.base_url}/embeddings", body)
        if FINGERPRINT in reply.headers:
            self.fingerprints.append(reply.headers[FINGERPRINT])
        return reply
