"""What HTTP adds: to batches, throughput against the engine's own; to single short texts, CPU time beyond the model's.

usage: python -m benchmarks.server MODEL [--dtype int8]               # 8 clients, 32 passages a call
       python -m benchmarks.server demo-xs --short                    # 8 clients, one short text a call

Both sides get the same texts. The engine is measured before and after the server, each with the machine to itself, and
the better of the two counts. Clients are processes of their own, which share the machine's cores with the server.
"""

from __future__ import annotations

import argparse
import http.client
import json
import multiprocessing
import os
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.common import RESULTS, free_port, kernels_name, model_name, write
from benchmarks.texts import prose, sentences
from upsize import Embedder
from upsize.compute import load_model, this_machine

BATCH, WORDS = 32, 180
"""Texts of a call, and words of a passage (some 270 tokens)."""


def batches(model: str, dtype: str, clients: int, calls: int, folder: Path = RESULTS) -> Path:
    """Tokens a second of passages, by the engine alone and over HTTP."""
    texts = [prose(seed, WORDS) for seed in range(clients * calls * BATCH)]
    bodies = [
        json.dumps({"input": texts[i : i + BATCH], "encoding_format": "base64"}) for i in range(0, len(texts), BATCH)
    ]
    alone = [_engine(model, dtype, texts)]
    with Server(model, dtype) as server:
        _call((server.port, bodies[:1]))
        seconds = server.load([bodies[i::clients] for i in range(clients)])
    alone.append(_engine(model, dtype, texts))
    tokens = alone[0][0]
    engine, served = tokens / min(s for _, s in alone), tokens / seconds
    return write(
        f"server-batches-{model_name(model)}-{dtype}-{kernels_name()}",
        {
            "model": model_name(model),
            "kernels": this_machine().kernels,
            "dtype": dtype,
            "clients": clients,
            "calls": len(bodies),
            "texts_a_call": BATCH,
            "tokens": tokens,
            "errors": [],
            "engine_tokens_per_second": round(engine, 1),
            "http_tokens_per_second": round(served, 1),
            "of_engine": round(served / engine, 3),
        },
        folder,
    )


def short(model: str, dtype: str, clients: int, calls: int, folder: Path = RESULTS) -> Path:
    """Requests a second of one short text each, and the server's CPU milliseconds for each beyond the model's own."""
    texts = sentences(1, clients * calls)
    bodies = [json.dumps({"input": text, "encoding_format": "base64"}) for text in texts]
    with Server(model, dtype) as server:
        _call((server.port, bodies[:50]))
        before = server.cpu_seconds()
        seconds = server.load([bodies[i::clients] for i in range(clients)])
        cpu = server.cpu_seconds() - before
        sequences, batches = server.count("upsize_batch_sequences_sum"), server.count("upsize_batch_sequences_count")
    model_cpu = _model_cpu(model, dtype, texts, max(round(sequences / batches), 1))
    each = [1e3 * value / len(bodies) for value in (cpu, model_cpu)]
    return write(
        f"server-short-{model_name(model)}-{dtype}-{kernels_name()}",
        {
            "model": model_name(model),
            "kernels": this_machine().kernels,
            "dtype": dtype,
            "clients": clients,
            "requests": len(bodies),
            "errors": [],
            "requests_per_second": round(len(bodies) / seconds, 1),
            "texts_a_batch": round(sequences / batches, 2),
            "cpu_ms_a_request": round(each[0], 3),
            "model_cpu_ms_a_request": round(each[1], 3),
            "cpu_ms_beyond_the_model": round(each[0] - each[1], 3),
        },
        folder,
    )


class Server:
    """A server of its own process, ended at the end."""

    def __init__(self, model: str, dtype: str) -> None:
        self.port = free_port()
        command = [sys.executable, "-m", "upsize", "serve", f"model={model}", "--port", str(self.port)]
        self.process = subprocess.Popen([*command, "--dtype", dtype, "--log-level", "warning"])

    def __enter__(self) -> Server:
        while self.process.poll() is None:
            try:
                if httpx.get(f"http://127.0.0.1:{self.port}/health").status_code == 200:
                    return self
            except httpx.TransportError:
                pass
            time.sleep(0.02)
        raise SystemExit("the server ended before it was ready")

    def __exit__(self, *_: object) -> None:
        self.process.terminate()
        self.process.wait()

    def post(self, body: dict[str, Any]) -> httpx.Response:
        """The reply to one call of `/v1/embeddings`."""
        return httpx.post(f"http://127.0.0.1:{self.port}/v1/embeddings", json=body)

    def load(self, bodies: Sequence[Sequence[str]]) -> float:
        """Seconds until the clients, each with its own bodies, have all answers. SystemExit where one failed."""
        with multiprocessing.get_context("spawn").Pool(len(bodies)) as pool:
            pool.map(_ready, range(len(bodies)), chunksize=1)
            started = time.perf_counter()
            found = pool.map(_call, [(self.port, part) for part in bodies], chunksize=1)
            seconds = time.perf_counter() - started
        errors = [error for part in found for error in part]
        if errors:  # a refusal takes no time: a rate that counted it would be too high
            raise SystemExit(f"{len(errors)} calls failed, so there is no rate; the first: {errors[0]}")
        return seconds

    def cpu_seconds(self) -> float:
        """User and system time of the server so far."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")

    def count(self, name: str) -> float:
        """A figure of /metrics, over all labels."""
        lines = httpx.get(f"http://127.0.0.1:{self.port}/metrics").text.splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if line.startswith(name))


def _ready(_: int) -> None:
    """Keeps every process of the pool busy until all are up."""
    time.sleep(0.5)


def _call(work: tuple[int, Sequence[str]]) -> list[str]:
    """Send bodies one after another on one connection; what went wrong."""
    port, bodies = work
    connection, errors = http.client.HTTPConnection("127.0.0.1", port, timeout=3600), []
    for body in bodies:
        connection.request("POST", "/v1/embeddings", body)
        response = connection.getresponse()
        content = response.read()
        if response.status != 200:
            errors.append(f"{response.status} {content[:200]!r}")
    connection.close()
    return errors


def _in_a_process(function: Callable[..., Any], *arguments: Any) -> Any:
    """What a function gives in a new process, whose memory and threads end with it."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(function, arguments)


def _engine(model: str, dtype: str, texts: Sequence[str]) -> tuple[int, float]:
    return tuple(_in_a_process(_encode, model, dtype, texts))


def _encode(model: str, dtype: str, texts: Sequence[str]) -> tuple[int, float]:
    """Tokens of all texts, and the seconds that an embedder takes for them."""
    with Embedder(model, device="cpu", dtype=dtype) as embedder:
        embedder.encode_document(texts[:4])
        started = time.perf_counter()
        embedder.encode_document(texts)
        seconds = time.perf_counter() - started
        return sum(embedder.count_tokens(texts)), seconds


def _model_cpu(model: str, dtype: str, texts: Sequence[str], size: int) -> float:
    return float(_in_a_process(_batches_cpu, model, dtype, texts, size))


def _batches_cpu(model: str, dtype: str, texts: Sequence[str], size: int) -> float:
    """CPU seconds of the network alone, in batches as large as the server's were."""
    loaded = load_model(model, kind="embedding", device="cpu", dtype=dtype)
    tokenizer = loaded.checkpoint.tokenizer
    arrays = [np.append(tokenizer.encode(text), np.int32(tokenizer.end_id)) for text in texts]
    for warm in (True, False):
        started = time.process_time()
        for start in range(0, min(500, len(arrays)) if warm else len(arrays), size):
            for _ in loaded.run(arrays[start : start + size]):
                pass
        seconds = time.process_time() - started
    return seconds


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--dtype", default="auto")
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--calls", type=int, help="of each client; default 2, or 1,000 with --short")
    parser.add_argument("--short", action="store_true", help="one short text a call")
    given = parser.parse_args()
    measured = short if given.short else batches
    measured(given.model, given.dtype, given.clients, given.calls or (1000 if given.short else 2))
