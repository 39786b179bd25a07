"""What costly requests cost a server, at three sizes each: the answer's time, others' latency meanwhile, memory.

Each size is ten times the last, or nearly. A cost that is flat or grows as the body does is bounded by the limit on
bodies; one that grows faster is a fault.

usage: python -m benchmarks.request_costs [--kinds KIND ...]
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx

from benchmarks.common import RESULTS, free_port, write
from benchmarks.mixed_load import until_healthy
from benchmarks.texts import prose

JSON = {"Content-Type": "application/json"}
PATIENCE = 240.0
"""Seconds after which an answer is not waited for."""
EMBED, RERANK = "/v1/embeddings", "/v1/rerank"


@dataclass(frozen=True)
class Kind:
    """One sort of costly request."""

    path: str
    sizes: tuple[int, ...]
    unit: str
    body: Callable[[int], bytes]


def _dumps(**fields: Any) -> bytes:
    return json.dumps(fields).encode()


def _nested(depth: int) -> bytes:
    return b'{"input": "a", "metadata": ' + b"[" * depth + b"]" * depth + b"}"


def _digits(count: int) -> bytes:
    return b'{"input": "a", "dimensions": ' + b"9" * count + b"}"


def _words(count: int, **more: Any) -> bytes:
    return _dumps(input="some words " * (count // 11), **more)


def _fields(count: int) -> bytes:
    return _dumps(input="a", **{f"f{i}": 1 for i in range(count)})


def _marks(count: int) -> bytes:
    return _dumps(**{'" - at `"'[1:-1] * (count // 7): 1}, input=5)


def _accents(count: int) -> bytes:
    return json.dumps({"input": "a" + "\u0316\u0301" * (count // 2)}, ensure_ascii=False).encode()


LONG, LONGER = (600_000, 6_000_000, 60_000_000), (10_000, 100_000, 1_000_000)
CHARACTERS = "characters"

KINDS: dict[str, Kind] = {
    "an instruction before 2,000 texts of one character": Kind(
        EMBED, LONGER, CHARACTERS, lambda n: _dumps(input=["a"] * 2000, instruction="do it " * (n // 6))
    ),
    "a query before 2,000 documents of one character": Kind(
        RERANK,
        (3_500, 35_000, 350_000),
        CHARACTERS,
        lambda n: _dumps(query=prose(1, n // 7), documents=["a"] * 2000),
    ),
    "unknown fields": Kind(EMBED, LONGER, "fields", _fields),
    "a field's name with the parser's marks": Kind(EMBED, (70, 7_000, 700_000), CHARACTERS, _marks),
    "texts of one character": Kind(EMBED, (4_000, 40_000, 400_000), "texts", lambda n: _dumps(input=["a"] * n)),
    "2,048 lists of token ids": Kind(EMBED, (600, 2_200, 6_600), "ids each", lambda n: _dumps(input=[[5] * n] * 2048)),
    "one text, refused": Kind(EMBED, LONG, CHARACTERS, _words),
    "one text, cut": Kind(EMBED, LONG, CHARACTERS, lambda n: _words(n, truncate=True)),
    "one text, cut at the left": Kind(
        EMBED, LONG, CHARACTERS, lambda n: _words(n, truncate=True, truncation_side="left")
    ),
    "one text without a space": Kind(EMBED, LONG, CHARACTERS, lambda n: _dumps(input="a" * n)),
    "one text of combining marks": Kind(EMBED, (600_000, 6_000_000, 30_000_000), CHARACTERS, _accents),
    "one text of escapes": Kind(EMBED, LONG, CHARACTERS, lambda n: b'{"input": "' + b"\\\\" * (n // 2) + b'"}'),
    "lists within lists": Kind(EMBED, (1_000, 100_000, 10_000_000), "deep", _nested),
    "lists beside lists": Kind(
        EMBED, (100_000, 1_000_000, 10_000_000), "lists", lambda n: b'{"input": [' + b"[5]," * n + b"[5]]}"
    ),
    "digits of a number": Kind(EMBED, (400, 40_000, 4_000_000), "digits", _digits),
}


@dataclass
class Others:
    """Who asks meanwhile: for the health, and for the vector of a short query."""

    base: str
    milliseconds: dict[str, list[float]] = field(default_factory=lambda: {"health": [], "short": []})

    def __enter__(self) -> Others:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._ask, args=(name,)) for name in self.milliseconds]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _ask(self, name: str) -> None:
        with httpx.Client(base_url=self.base, timeout=PATIENCE) as client:
            while not self._stop.is_set():
                started = time.perf_counter()
                if name == "health":
                    client.get("/health")
                else:
                    client.post(EMBED, json={"input": "how do plants eat light?", "input_type": "query"})
                self.milliseconds[name].append(1e3 * (time.perf_counter() - started))
                self._stop.wait(0.02)


def _peak_mb(pid: int) -> float:
    line = next(x for x in Path(f"/proc/{pid}/status").read_text().splitlines() if x.startswith("VmHWM"))
    return int(line.split()[1]) / 1024


def _cost(base: str, pid: int, kind: Kind, size: int) -> dict[str, Any]:
    body = kind.body(size)
    Path(f"/proc/{pid}/clear_refs").write_text("5")  # the peak from now on
    before = _peak_mb(pid)
    with Others(base) as others, httpx.Client(base_url=base, timeout=PATIENCE) as client:
        time.sleep(0.2)
        started = time.perf_counter()
        try:
            status: int | str = client.post(kind.path, content=body, headers=JSON).status_code
        except httpx.HTTPError as error:
            status = type(error).__name__
        seconds = time.perf_counter() - started
        time.sleep(0.2)
    return {
        kind.unit: size,
        "body_mb": round(len(body) / 1e6, 3),
        "status": status,
        "seconds": round(seconds, 3),
        "health_max_ms": round(max(others.milliseconds["health"]), 1),
        "short_query_max_ms": round(max(others.milliseconds["short"]), 1),
        "memory_mb": round(_peak_mb(pid) - before, 1),
    }


def measure(kinds: Sequence[str] = tuple(KINDS), sizes: int = 3, folder: Path = RESULTS) -> Path:
    """Every kind at its first so many sizes, one after another on one server."""
    with tempfile.TemporaryDirectory() as indexes:
        port = free_port()
        command = [sys.executable, "-m", "upsize", "serve", "embed=demo-m", "rank=demo-rerank", "--port", str(port)]
        server = subprocess.Popen([*command, "--indexes", indexes, "--log-level", "error"])
        base = f"http://127.0.0.1:{port}"
        try:
            until_healthy(server, base)
            with Others(base):
                time.sleep(1)
            found = {
                name: [_cost(base, server.pid, KINDS[name], n) for n in KINDS[name].sizes[:sizes]] for name in kinds
            }
        finally:
            server.terminate()
            code = server.wait()
    return write("request-costs", {"server_exit_code": code, "kinds": found}, folder)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS), metavar="KIND")
    measure(parser.parse_args().kinds)
