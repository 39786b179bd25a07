"""An OpenAI-compatible service that is right, and can be made wrong in one way at a time."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from tests.little_server import Answer, Behaviour, Call, serving
from upsize.diagnostics import Diagnosis, diagnose

NAMES = ("little-embedding", "little-reranker")


def vector(text: str, dimension: int) -> list[float]:
    """A unit vector that depends on the text alone."""
    seed = int.from_bytes(hashlib.sha256(text.encode()).digest()[:4], "big")
    value = np.random.default_rng(seed).standard_normal(dimension)
    return [float(v) for v in value / np.linalg.norm(value)]


@dataclass
class Service:
    """Answers as documented; subclasses and fields make it wrong."""

    dimension: int = 16
    key: str | None = None
    prefix: str = "/v1"
    health: int = 200
    lists: bool = True
    fingerprints: Sequence[str] = ()
    calls: list[Call] = field(default_factory=list)

    def __call__(self, call: Call) -> Answer:
        self.calls.append(call)
        if call.path == "/health":
            return Answer(self.health, {"status": "ok" if self.health == 200 else "starting"})
        if self.key is not None and call.headers.get("authorization") != f"Bearer {self.key}":
            return self.error(401, "Invalid API key")
        if call.path == f"{self.prefix}/models" and self.lists:
            return Answer(200, {"object": "list", "data": [{"id": n, "object": "model"} for n in reversed(NAMES)]})
        if call.path == f"{self.prefix}/embeddings" and call.method == "POST":
            return self.embed(call.body)
        if call.path == f"{self.prefix}/rerank" and call.method == "POST" and call.body.get("model") == NAMES[1]:
            return self.rerank(call.body)
        return self.not_found(call)

    def embed(self, body: dict[str, Any]) -> Answer:
        """The embeddings endpoint."""
        if body.get("model", NAMES[0]) != NAMES[0]:
            message = f"The model {body['model']!r} does not exist."
            return self.error(404, message, code="model_not_found")
        dimension = body.get("dimensions", self.dimension)
        if dimension > self.dimension:
            return self.error(400, f"dimensions is {dimension}; this model gives at most {self.dimension}")
        rows = self.vectors(body["input"], dimension)
        data = [{"object": "embedding", "index": i, "embedding": row} for i, row in enumerate(rows)]
        headers = {}
        if self.fingerprints:
            headers["x-upsize-fingerprint"] = self.fingerprints[len(self.calls) % len(self.fingerprints)]
        return Answer(200, {"object": "list", "data": data, "model": NAMES[0], "usage": {}}, headers)

    def rerank(self, body: dict[str, Any]) -> Answer:
        """The rerank endpoint."""
        scores = self.scores(body["documents"])
        results = [{"index": i, "relevance_score": s} for i, s in enumerate(scores)]
        return Answer(200, {"results": sorted(results, key=lambda r: -r["relevance_score"])})

    def vectors(self, texts: list[str], dimension: int) -> list[list[Any]]:
        """What it embeds."""
        return [vector(text, dimension) for text in texts]

    def scores(self, documents: list[str]) -> list[float]:
        """What it ranks."""
        return [0.9 if "Beijing" in text else 0.1 for text in documents]

    def not_found(self, call: Call) -> Answer:
        """What is at other paths."""
        return self.error(404, "Not Found")

    def error(self, status: int, message: str, **more: str) -> Answer:
        """An error in OpenAI's shape."""
        return Answer(status, {"error": {"message": message, "type": "error", **more}})


def of(service: Behaviour, path: str = "/v1", **options: Any) -> Diagnosis:
    """The diagnosis of a service that behaves so."""
    with serving(service) as root:
        return diagnose(root + path, timeout=options.pop("timeout", 20.0), **options)


def wrongs(found: Diagnosis) -> list[str]:
    """Kinds of what is wrong."""
    return [f.kind for f in found.findings if f.level == "wrong"]


def message(found: Diagnosis) -> str:
    """What is said of it."""
    return " ".join(f"{f.message} {f.advice}" for f in found.findings if f.level == "wrong")
