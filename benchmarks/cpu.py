"""Tokens per second and milliseconds of an embedder on the CPU, beside what the machine can do at all, and its peers.

    python -m benchmarks.cpu MODEL                                  # on every core, by the clock on the wall
    python -m benchmarks.cpu MODEL --threads 1                      # CPU seconds of one thread: holds beside other work
    python -m benchmarks.cpu MODEL --work WORK --peers PEERS --scripts SCRIPTS   # peers on the same token ids

WORK holds queries.jsonl and passages.jsonl, a line an object with its `ids`; without it texts are made up. PEERS holds
a virtual environment for each peer, SCRIPTS a script NAME_….py for each, called with MODEL and WORK, that prints JSON
lines. A pass is measured with nothing remembered; where beginnings are remembered the figure says so.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch

from benchmarks.common import RESULTS, model_name, peers_of, write
from benchmarks.server import Server
from benchmarks.texts import prose, sentences
from upsize.catalog.instructions import QUERY_FORM, WEB_SEARCH
from upsize.compute import LoadedModel, load_model, this_machine
from upsize.compute.native import NativeQwen3
from upsize.compute.native.network import REMEMBERED
from upsize.compute.native.prefixes import Prefixes
from upsize.engine.schedule import next_batch
from upsize.model.tokenizer import Ids

QUERY = 27
"""Tokens of the one query, as in the peers' scripts: 19 of the default instruction, the question, the end."""
SHAPES = ((512, 1024, 6144), (512, 3072, 1024), (512, 1024, 4096))
"""Rows, inputs, outputs of the products that the limit is measured on."""

Clock = Callable[[], float]


def limit(clock: Clock, seconds: float) -> dict[str, float]:
    """Products of a library with nothing between them, in operations a second, and bytes read a second: the best."""
    linear = torch.nn.functional.linear
    rates = {"int8": 0.0, "bfloat16": 0.0, "float32": 0.0}
    for rows, inputs, outputs in SHAPES:
        x, w = torch.randn(rows, inputs), torch.randn(outputs, inputs)
        xq, wq = ((t * 30).clamp(-127, 127).to(torch.int8) for t in (x, w))
        products = {
            "int8": partial(torch._int_mm, xq, wq.t()),
            "bfloat16": partial(linear, x.bfloat16(), w.bfloat16()),
            "float32": partial(linear, x, w),
        }
        for name, product in products.items():
            rate = 2 * rows * inputs * outputs / min(_times(product, clock, seconds))
            rates[name] = max(rates[name], rate)
    block = torch.ones(32 << 20)
    return rates | {"read_bytes": block.nbytes / min(_times(block.sum, clock, seconds))}


def measure(
    model: str,
    *,
    dtypes: Sequence[str] = ("int8", "bfloat16"),
    threads: int | None = None,
    work: Path | None = None,
    peers: Path | None = None,
    scripts: Path | None = None,
    documents: int = 50,
    repeats: int = 5,
    seconds: float = 0.5,
    folder: Path = RESULTS,
) -> Path:
    """Measure each dtype, the limit before and after each, and the peers."""
    threads = threads or this_machine().threads
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of the compiled network
    torch.set_num_threads(threads)  # of the limit
    clock = time.thread_time if threads == 1 else time.perf_counter
    limits, ours = [limit(clock, seconds)], {}
    for dtype in dtypes:
        ours[dtype] = _model(model, dtype, work, clock, documents, repeats)
        limits.append(limit(clock, seconds))
    best = {name: max(each[name] for each in limits) for name in limits[0]}
    for dtype, figures in ours.items():
        most = best[figures["precision"]] / (2 * figures["parameters_in_products"])
        figures["limit_tokens_per_second"] = round(most, 1)
        for name in ("queries", "passages"):
            figures[name]["of_limit"] = round(figures[name]["tokens_per_second"] / most, 3)
        figures["restart"] = _restart(model, dtype)
    result: dict[str, Any] = {
        "model": model_name(model),
        "threads": threads,
        "clock": "CPU time of the thread" if threads == 1 else "wall",
        "n": repeats,
        "limit": {name: round(value / 1e9, 1) for name, value in best.items()},
        "ours": ours,
    }
    if peers is not None and scripts is not None and work is not None:
        result["peers"] = _peers(model, work, peers, scripts)
    return write(f"cpu-{model_name(model)}-{result['threads']}-threads", result, folder)


def _model(model: str, dtype: str, work: Path | None, clock: Clock, documents: int, repeats: int) -> dict[str, Any]:
    loaded = load_model(model, kind="embedding", device="cpu", dtype=dtype)
    config = loaded.checkpoint.config
    products = sum(
        int(np.prod(t.shape)) for n, t in loaded.checkpoint.weights.tensors.items() if n.endswith("_proj.weight")
    )
    queries, passages = _texts(loaded, work)
    instruction = _shared(queries)
    short = [query[:QUERY] for query in queries if len(query) >= QUERY]
    pairs = [np.concatenate((passages[0][:80], p[:200])) for p in _many(passages, documents)]
    figures: dict[str, Any] = {
        "precision": loaded.plan.precision,
        "compiled": loaded.plan.compiled,
        "agreement": loaded.agreement,
        "layers": config.layers,
        "parameters_in_products": products,
        "queries": _throughput(loaded, queries, clock, repeats, remember=False),
        "passages": _throughput(loaded, passages, clock, repeats, remember=False),
        "one_query": _latency(loaded, short, clock, repeats, remember=False),
        "pairs": _throughput(loaded, pairs, clock, 1, remember=False),
    }
    if loaded.plan.compiled:
        figures |= {
            "shared_tokens_of_a_query": instruction,
            "queries_remembering": _throughput(loaded, queries, clock, repeats, remember=True),
            "one_query_remembering": _latency(loaded, short, clock, repeats, remember=True),
            "pairs_remembering": _throughput(loaded, pairs, clock, 1, remember=True),
        }
    return figures


def _texts(loaded: LoadedModel, work: Path | None) -> tuple[list[Ids], list[Ids]]:
    """Queries with the default instruction, and passages of about 270 tokens."""
    if work is not None:
        both = []
        for name in ("queries", "passages"):
            lines = (work / f"{name}.jsonl").read_text(encoding="utf-8").splitlines()
            both.append([np.array(json.loads(line)["ids"], np.int32) for line in lines])
        return both[0], both[1]
    tokenizer = loaded.checkpoint.tokenizer
    prefix = QUERY_FORM.format(instruction=WEB_SEARCH)
    texts = ([prefix + s for s in sentences(1, 64)], [prose(seed, 180) for seed in range(8)])
    queries, passages = ([np.append(tokenizer.encode(t), np.int32(tokenizer.end_id)) for t in side] for side in texts)
    return queries, passages


def _many(texts: Sequence[Ids], count: int) -> list[Ids]:
    """So many different texts: the given ones, then the same from later tokens on."""
    return [np.roll(texts[i % len(texts)], -(i // len(texts)) * 7) for i in range(count)]


def _shared(texts: Sequence[Ids]) -> int:
    """Tokens that all begin with."""
    shortest = min(len(t) for t in texts)
    same = np.all([t[:shortest] == texts[0][:shortest] for t in texts], axis=0)
    return shortest if same.all() else int(same.argmin())


def _remember(loaded: LoadedModel, wanted: bool) -> None:
    """Forget every beginning; from here on none is remembered unless `wanted`. The torch network remembers none."""
    network, config = loaded._network, loaded.checkpoint.config
    if isinstance(network, NativeQwen3):
        token = config.layers * config.kv_heads * config.head_dim * 4
        network.prefixes = Prefixes(REMEMBERED if wanted else 0, token)


def _throughput(
    loaded: LoadedModel, texts: Sequence[Ids], clock: Clock, repeats: int, *, remember: bool
) -> dict[str, Any]:
    """Tokens a second of all texts, in batches of the plan's budget; those remembered count as the user's tokens do."""
    batches, rest = [], sorted(texts, key=len)
    while rest:
        chosen = next_batch([_Waiting(t) for t in rest], loaded.plan.budget)
        batches.append([rest[i] for i in chosen])
        rest = [t for i, t in enumerate(rest) if i not in set(chosen)]
    tokens, times = sum(map(len, texts)), []
    for _ in range(repeats):
        _remember(loaded, remember)
        if remember:  # what a service has seen before; the texts themselves are new to it
            for text in texts[:3]:
                _run(loaded, [[text]])
        times.append(_once(partial(_run, loaded, batches), clock))
    return {
        "texts": len(texts),
        "tokens": tokens,
        "seconds": round(median(times), 4),
        "tokens_per_second": round(tokens / median(times), 1),
        "best_tokens_per_second": round(tokens / min(times), 1),
    }


def _latency(
    loaded: LoadedModel, texts: Sequence[Ids], clock: Clock, repeats: int, *, remember: bool
) -> dict[str, Any]:
    """Milliseconds of one query, a different one each time."""
    _remember(loaded, remember)
    chosen = texts[: 4 * repeats + 3]
    times = [_once(partial(_run, loaded, [[text]]), clock) for text in chosen][3:]
    return {
        "texts": len(times),
        "tokens": int(median(map(len, chosen[3:]))),
        "p50_ms": round(1e3 * median(times), 1),
        "best_ms": round(1e3 * min(times), 1),
    }


class _Waiting:
    """A text as the scheduler sees it."""

    deadline = 0.0

    def __init__(self, ids: Ids) -> None:
        self.tokens = len(ids)


def _run(loaded: LoadedModel, batches: Iterable[Sequence[Ids]]) -> None:
    for batch in batches:
        for _ in loaded.run(batch):
            pass


def _once(f: Callable[[], object], clock: Clock) -> float:
    started = clock()
    f()
    return clock() - started


def _times(f: Callable[[], object], clock: Clock, seconds: float) -> list[float]:
    """Of as many runs as take so long, at least 3, after one that wakes everything."""
    f()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        times.append(_once(f, clock))
    return times


def _restart(model: str, dtype: str) -> dict[str, float]:
    """A server with the packed form on disk: from its start to the first vector over HTTP, and its memory then."""
    started = time.perf_counter()
    with Server(model, dtype) as server:
        server.post({"input": "How are you today"}).raise_for_status()
        seconds = time.perf_counter() - started
        return {
            "first_vector_s": round(seconds, 2),
            "cpu_s": round(server.cpu_seconds(), 2),
            "resident_gb": round(psutil.Process(server.process.pid).memory_info().rss / 1e9, 3),
        }


def _peers(model: str, work: Path, peers: Path, scripts: Path) -> list[dict[str, Any]]:
    """Each peer whose environment is there, one after another, on the same ids."""
    lines = []
    for python, script, environment in peers_of(peers, scripts):
        done = subprocess.run(
            [python, script, model, work], capture_output=True, text=True, cwd=scripts, env=environment
        )
        if done.returncode:
            lines.append({"peer": script.stem, "failed": done.stderr.splitlines()[-1:]})
        lines += [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return lines


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--dtypes", nargs="+", default=["int8", "bfloat16"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--documents", type=int, default=50, help="scored for one query")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--scripts", type=Path)
    given = parser.parse_args()
    measure(
        given.model,
        dtypes=given.dtypes,
        threads=given.threads,
        work=given.work,
        peers=given.peers,
        scripts=given.scripts,
        documents=given.documents,
        repeats=given.repeats,
    )
