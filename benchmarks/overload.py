"""A server with more to do than it can: short queries and batches in an open loop at several times its capacity.

Every latency counts from the instant at which the request was due, whatever the sender was doing. A share of the
clients comes back when `Retry-After` says, as often as it is told to; the others give up.

usage: python -m benchmarks.overload [MODEL] [--loads 1.5 5] [--seconds 180] [--honouring 0.5]
"""

from __future__ import annotations

import argparse
import asyncio
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import orjson

from benchmarks.common import RESULTS, free_port, model_name, write
from benchmarks.mixed_load import until_healthy
from benchmarks.texts import sentences

SHORT_RATE = 17.0
"""Short queries a second, whatever the load: people do not ask more because batches are larger."""
TEXTS, SENTENCES = 32, 24
"""Of a batch: texts, and sentences of each, some 250 tokens."""
JSON = {"Content-Type": "application/json"}
PATIENCE = 120.0
"""Seconds after which a client gives up."""
AFTER = 45.0
"""Seconds after the last arrival in which answers are still waited for."""


@dataclass
class Sent:
    """One attempt and its answer."""

    kind: str
    status: int
    seconds: float
    """From when it was due to the answer."""
    late: float
    """From when it was due until it was sent."""
    retry: bool
    """Whether it came back as it was told."""
    retry_after: float | None = None
    fault: str = ""


@dataclass
class ClientLoad:
    """One open loop."""

    base: str
    batch_rate: float
    seconds: float
    honouring: float
    sent: list[Sent] = field(default_factory=list)
    seed: int = 0

    async def run(self) -> None:
        """Send everything that is due, and wait for the answers."""
        pool = httpx.Limits(max_connections=None, max_keepalive_connections=256)
        draw = random.Random(self.seed)
        due = sorted(
            one
            for kind, rate in (("short", SHORT_RATE), ("batch", self.batch_rate))
            for one in _times(draw, kind, rate, self.seconds)
        )
        async with httpx.AsyncClient(base_url=self.base, timeout=PATIENCE, limits=pool) as client:
            began, under_way = time.monotonic(), set()
            for number, (at, kind) in enumerate(due):
                await asyncio.sleep(max(began + at - time.monotonic(), 0))
                comes_back = draw.random() < self.honouring
                one = asyncio.create_task(self._client(client, kind, number, began + at, began, comes_back))
                under_way.add(one)
            await asyncio.wait(under_way, timeout=AFTER)
            for one in under_way:
                one.cancel()
            await asyncio.gather(*under_way, return_exceptions=True)

    async def _client(
        self, client: httpx.AsyncClient, kind: str, number: int, due: float, began: float, comes_back: bool
    ) -> None:
        body, retry = _body(kind, number), False
        while True:
            one = await _post(client, kind, body, due, retry)
            self.sent.append(one)
            if one.status != 429 or not comes_back or one.retry_after is None:
                return
            due, retry = time.monotonic() + one.retry_after, True
            if due > began + self.seconds:  # whoever would come after the end does not
                return
            await asyncio.sleep(one.retry_after)

    def summary(self) -> dict[str, Any]:
        """What became of it."""
        retries = [s for s in self.sent if s.retry]
        told = [s.retry_after for s in self.sent if s.retry_after is not None]
        late = [s.late for s in self.sent]
        return {
            "seconds": self.seconds,
            **{kind: self._of(kind) for kind in ("short", "batch")},
            "retries_after_retry_after": {
                "n": len(retries),
                "admitted": round(sum(s.status == 200 for s in retries) / len(retries), 3) if retries else None,
                "short_n": sum(s.kind == "short" for s in retries),
            },
            "retry_after_s": _quantiles(told),
            "sender_late_s": _quantiles(late),
        }

    def _of(self, kind: str) -> dict[str, Any]:
        sent = [s for s in self.sent if s.kind == kind]
        first = [s for s in sent if not s.retry]
        answered = [s.seconds for s in sent if s.status == 200]
        return {
            "due": len(first),
            "attempts_by_status": dict(sorted(Counter(str(s.status) for s in sent).items())),
            "first_attempts_answered": round(sum(s.status == 200 for s in first) / max(len(first), 1), 3),
            "answered_s": _quantiles(answered),
            "faults": dict(Counter(s.fault for s in sent if s.fault).most_common(5)),
        }


async def _post(client: httpx.AsyncClient, kind: str, body: bytes, due: float, retry: bool) -> Sent:
    late = time.monotonic() - due
    try:
        reply = await client.post("/v1/embeddings", content=body, headers=JSON)
    except httpx.HTTPError as error:
        return Sent(kind, 0, time.monotonic() - due, late, retry, fault=type(error).__name__)
    after = reply.headers.get("Retry-After")
    fault = "" if reply.status_code in (200, 429) else reply.text[:100]
    return Sent(kind, reply.status_code, time.monotonic() - due, late, retry, float(after) if after else None, fault)


def _times(draw: random.Random, kind: str, rate: float, seconds: float) -> Iterator[tuple[float, str]]:
    now = 0.0
    while (now := now + draw.expovariate(rate)) < seconds:
        yield now, kind


def _body(kind: str, number: int) -> bytes:
    if kind == "short":
        text = sentences(number, 1)[0]
        return orjson.dumps({"input": f"{number}: {text}", "input_type": "query", "encoding_format": "base64"})
    texts = [
        f"{number}.{i} {' '.join(_PROSE[(number * 7 + i * 3 + k) % len(_PROSE)] for k in range(SENTENCES))}"
        for i in range(TEXTS)
    ]
    return orjson.dumps({"input": texts, "encoding_format": "base64"})


_PROSE = sentences(1, 997)


def _quantiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    p50, p95 = np.percentile(values, [50, 95])
    return {"n": len(values), "p50": round(float(p50), 3), "p95": round(float(p95), 3), "max": round(max(values), 3)}


def capacity(base: str, seconds: float) -> tuple[float, float]:
    """Batches a second of two clients that send the next when they have the last, and tokens a second."""

    async def client(number: int, ends: float, done: list[int]) -> None:
        async with httpx.AsyncClient(base_url=base, timeout=PATIENCE) as http:
            while time.monotonic() < ends:
                number += 2
                reply = await http.post("/v1/embeddings", content=_body("batch", number), headers=JSON)
                done.append(reply.raise_for_status().json()["usage"]["total_tokens"])

    async def both() -> tuple[float, float]:
        done: list[int] = []
        await client(0, 0.0, [])
        began = time.monotonic()
        await asyncio.gather(*(client(i, began + seconds, done) for i in (1_000_000, 1_000_001)))
        spent = time.monotonic() - began
        return len(done) / spent, sum(done) / spent

    return asyncio.run(both())


def measure(
    model: str = "demo-m",
    loads: Sequence[float] = (1.5, 5.0),
    seconds: float = 180.0,
    honouring: float = 0.5,
    capacity_seconds: float = 10.0,
    folder: Path = RESULTS,
) -> Path:
    """The open loop at each load, one after another, on one server."""
    with tempfile.TemporaryDirectory() as indexes:
        port = free_port()
        command = [sys.executable, "-m", "upsize", "serve", f"model={model}", "--port", str(port)]
        server = subprocess.Popen([*command, "--indexes", indexes, "--log-level", "warning"])
        base = f"http://127.0.0.1:{port}"
        try:
            until_healthy(server, base)
            batches, tokens = capacity(base, capacity_seconds)
            found = {}
            for load in loads:
                loop = ClientLoad(base, load * batches, seconds, honouring, seed=int(load * 10))
                asyncio.run(loop.run())
                found[f"{load:g}"] = loop.summary()
        finally:
            server.terminate()
            code = server.wait()
    return write(
        f"overload-{model_name(model)}",
        {
            "model": model_name(model),
            "capacity_tokens_per_second": round(tokens),
            "batch": {"texts": TEXTS, "tokens": round(tokens / batches)},
            "short_per_second": SHORT_RATE,
            "share_that_honours_retry_after": honouring,
            "server_exit_code": code,
            "loads": found,
        },
        folder,
    )


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", nargs="?", default="demo-m")
    parser.add_argument("--loads", type=float, nargs="+", default=[1.5, 5.0])
    parser.add_argument("--seconds", type=float, default=180)
    parser.add_argument("--honouring", type=float, default=0.5)
    given = parser.parse_args()
    measure(given.model, given.loads, given.seconds, given.honouring)
