"""Ten clients with short queries while one sends long documents: errors, and how long the short ones wait.

Closed loop: each client sends its next request when it has its answer, so the machine is saturated all the time.

usage: python -m benchmarks.mixed_load MODEL [--documents 2] [--document-tokens 8192] [--clients 10]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import threading
import time
from pathlib import Path

import httpx
import numpy as np

from benchmarks.common import RESULTS, free_port, model_name, write
from benchmarks.texts import prose, sentences


def measure(
    model: str, documents: int, document_tokens: int, clients: int, alone_seconds: float, folder: Path = RESULTS
) -> Path:
    """First the short queries alone for a while, then with the documents until the last of those is answered."""
    port = free_port()
    command = [sys.executable, "-m", "upsize", "serve", f"model={model}", "--port", str(port)]
    server = subprocess.Popen([*command, "--context-length", str(document_tokens), "--log-level", "warning"])
    base = f"http://127.0.0.1:{port}"
    try:
        until_healthy(server, base)
        alone, _ = _run(base, clients, lambda: time.sleep(alone_seconds))
        lengths: list[int] = []
        seconds: list[float] = []

        def send_documents() -> None:
            with httpx.Client(base_url=base, timeout=3600) as client:
                for number in range(documents):
                    started = time.perf_counter()
                    body = {"input": prose(number, document_tokens), "truncate": True}
                    reply = client.post("/v1/embeddings", json=body).raise_for_status()
                    seconds.append(time.perf_counter() - started)
                    lengths.append(reply.json()["usage"]["total_tokens"])

        mixed, errors = _run(base, clients, send_documents)
    finally:
        server.terminate()
        code = server.wait()
    return write(
        f"mixed-load-{model_name(model)}",
        {
            "model": model_name(model),
            "clients": clients,
            "documents": [{"tokens": t, "seconds": round(s, 1)} for t, s in zip(lengths, seconds, strict=True)],
            "errors": errors,
            "server_exit_code": code,
            "short_queries_alone": _summary(alone),
            "short_queries_beside_documents": _summary(mixed),
        },
        folder,
    )


def _run(base: str, clients: int, meanwhile: object) -> tuple[list[float], list[str]]:
    """Seconds of every short query sent while `meanwhile` runs (each client sends at least one), and the errors."""
    seconds: list[float] = []
    errors: list[str] = []
    stop = threading.Event()

    def client(queries: list[str]) -> None:
        with httpx.Client(base_url=base, timeout=3600) as http:
            for query in queries:
                started = time.perf_counter()
                reply = http.post("/v1/embeddings", json={"input": query, "input_type": "query"})
                seconds.append(time.perf_counter() - started)
                if reply.status_code != 200:
                    errors.append(f"{reply.status_code} {reply.text[:200]}")
                if stop.is_set():
                    return

    threads = [threading.Thread(target=client, args=(sentences(i, 1000),)) for i in range(clients)]
    for thread in threads:
        thread.start()
    try:
        meanwhile()  # type: ignore[operator]
    finally:
        stop.set()
        for thread in threads:
            thread.join()
    return seconds, errors


def until_healthy(server: subprocess.Popen[bytes], base: str) -> None:
    """Wait until the server answers; SystemExit if it ends before."""
    while server.poll() is None:
        try:
            if httpx.get(f"{base}/health").status_code == 200:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.1)
    raise SystemExit("the server ended before it was ready")


def _summary(seconds: list[float]) -> dict[str, float]:
    p50, p95, p99 = np.percentile(seconds, [50, 95, 99])
    most = round(max(seconds), 3)  # a closed loop sends one request into a stall, which no quantile need show
    return {"n": len(seconds), "p50_s": round(p50, 3), "p95_s": round(p95, 3), "p99_s": round(p99, 3), "max_s": most}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("--documents", type=int, default=2)
    parser.add_argument("--document-tokens", type=int, default=8192)
    parser.add_argument("--clients", type=int, default=10)
    parser.add_argument("--alone-seconds", type=float, default=60)
    given = parser.parse_args()
    measure(given.model, given.documents, given.document_tokens, given.clients, given.alone_seconds)
