"""An index of real texts moves from one model to another under constant traffic: failures, latency, seconds to switch.

A service of its own process; searches, adds, updates and deletes come all the time, open loop. Phases: idle, backfill,
switched, rolled back, switched again. At the end what the traffic wrote and deleted is held against the index.

usage: python -m benchmarks.index_move --shared DATA [--texts 50000] [--source demo-xs] [--target demo-m]
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np

from benchmarks.common import RESULTS, free_port, write
from benchmarks.multilingual import Sentence, mixed
from benchmarks.traffic import Traffic

STORE = "bench"
"""What the server calls a store that has an address."""
RATES = {"search": 10.0, "add": 1.0, "update": 0.5, "delete": 0.5}
"""A second."""
CALL = 256


def measure(
    texts: list[Sentence],
    queries: list[str],
    source: str = "demo-xs",
    target: str = "demo-m",
    idle_seconds: float = 30.0,
    folder: Path = RESULTS,
    store: str = "lancedb",
) -> Path:
    """Index, move there and back and there again, and look."""
    with tempfile.TemporaryDirectory() as home:
        port = free_port()
        command = [sys.executable, "-m", "upsize", "serve", source, "--port", str(port), "--log-level", "warning"]
        command += ["--allow-model", target, *(["--store", f"{STORE}={store}"] if "://" in store else [])]
        server = subprocess.Popen([*command, "--indexes", home])
        base = f"http://127.0.0.1:{port}"
        try:
            _until_healthy(server, base)
            with httpx.Client(base_url=base, timeout=3600) as client:
                result = _run(client, base, texts, queries, source, target, idle_seconds, store)
        finally:
            server.terminate()
            code = server.wait()
    return write(f"index-move-{len(texts)}", result | {"server_exit_code": code}, folder)


def _run(
    client: httpx.Client,
    base: str,
    texts: list[Sentence],
    queries: list[str],
    source: str,
    target: str,
    idle_seconds: float,
    store: str,
) -> dict[str, Any]:
    index = "/v1/indexes/moving"

    def post(path: str, body: Any = None) -> Any:
        reply = client.post(path, json=body or {})
        if reply.status_code != 200:
            raise SystemExit(f"{path}: {reply.status_code} {reply.text}")
        return reply.json()

    post("/v1/indexes", {"name": "moving", "model": source, "store": STORE if "://" in store else store})
    begun = time.perf_counter()
    for first in range(0, len(texts), CALL):
        documents = [
            {"id": s.id, "text": s.text, "metadata": {"language": s.language}} for s in texts[first : first + CALL]
        ]
        post(f"{index}/documents", {"documents": documents})
    indexing = time.perf_counter() - begun
    traffic = Traffic(base, "moving", RATES, queries, [s.text for s in texts[:1000]])
    traffic.start()
    time.sleep(min(idle_seconds, 5))  # to warm up
    traffic.phase = "idle"
    time.sleep(idle_seconds)
    traffic.phase = "plan and start"
    plan = post(f"{index}/move/plan", {"to": target})
    post(f"{index}/move/start", {"to": target, "shadow": 0.05})
    traffic.phase = "backfill"
    begun = time.perf_counter()
    while not (status := client.get(f"{index}/move").json())["ready"]:
        if status["trouble"]:
            raise SystemExit(status["trouble"])
        time.sleep(0.5)
    backfill = time.perf_counter() - begun
    traffic.phase = "in step"
    time.sleep(min(idle_seconds, 10))
    turned: dict[str, float] = {}
    for name, step in (("switched", "switch"), ("rolled back", "rollback"), ("switched again", "switch")):
        traffic.phase = name
        begun = time.perf_counter()
        post(f"{index}/move/{step}")
        turned[name] = time.perf_counter() - begun
        time.sleep(min(idle_seconds, 10))
    agreement = client.get(f"{index}/move").json()["agreement"]
    traffic.phase = "finished"
    post(f"{index}/move/finish")
    time.sleep(min(idle_seconds, 2))
    traffic.stop()
    wrong = [id for id, text in traffic.written.items() if _text(client, index, id) != text]
    back = [id for id in traffic.deleted - set(traffic.written) if _text(client, index, id) is not None]
    told = client.get(index).json()
    idle, busy = (traffic.latencies("search", phase) for phase in ("idle", "backfill"))
    slower = float(np.quantile(busy, 0.95) / np.quantile(idle, 0.95)) if len(idle) and len(busy) else None
    return {
        "texts": len(texts),
        "languages": len({s.language for s in texts}),
        "source": source,
        "target": target,
        "store": store,
        "rates_per_second": RATES,
        "indexing_s": round(indexing, 1),
        "planned_s": round(3600 * plan["hours"], 1),
        "backfill_s": round(backfill, 1),
        "turn_s": {name: round(seconds, 3) for name, seconds in turned.items()},
        "failed": sum(a.error is not None for a in traffic.arrivals),
        "requests": len(traffic.arrivals),
        "errors": traffic.errors(),
        "search_p95_backfill_over_idle": slower and round(slower, 2),
        "phases": traffic.summary(),
        "shadow": {k: agreement[k] for k in ("searches", "overlap", "rank_biased_overlap")},
        "written_and_wrong_at_the_end": len(wrong),
        "deleted_and_there_at_the_end": len(back),
        "documents_at_the_end": told["documents"],
        "vectors_at_the_end": told["generations"][0]["vectors"],
    }


def _text(client: httpx.Client, index: str, id: str) -> str | None:
    reply = client.get(f"{index}/documents/{id}")
    return reply.json()["text"] if reply.status_code == 200 else None


def _until_healthy(server: subprocess.Popen[bytes], base: str) -> None:
    while True:
        if server.poll() is not None:
            raise SystemExit("the server did not start")
        try:
            if httpx.get(f"{base}/ready", timeout=5).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)


def main() -> None:
    """From the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, required=True)
    parser.add_argument("--texts", type=int, default=50_000)
    parser.add_argument("--source", default="demo-xs")
    parser.add_argument("--target", default="demo-m")
    parser.add_argument("--idle-seconds", type=float, default=60.0)
    arguments = parser.parse_args()
    every = mixed(arguments.shared, arguments.texts + 500)
    queries = [" ".join(s.text.split()[:8]) for s in every[arguments.texts :]]
    measure(every[: arguments.texts], queries, arguments.source, arguments.target, arguments.idle_seconds)


if __name__ == "__main__":
    main()
