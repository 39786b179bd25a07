"""Tokens per second and milliseconds of an embedder on the CPU, beside what the machine can do at all, and its peers.

    python -m benchmarks.cpu MODEL                                  # on every core, by the clock on the wall
    python -m benchmarks.cpu MODEL --threads 1                      # CPU seconds of one thread: holds beside other work
    python -m benchmarks.cpu MODEL --work WORK --peers PEERS --scripts SCRIPTS   # peers on the same token ids

WORK holds queries.jsonl and passages.jsonl, a line an object with its `ids`; without it texts are made up. PEERS holds
a virtual environment for each peer, SCRIPTS a script NAME_….py for each, whose `common.main` is given its loader.

A machine that others share is faster in one minute than in the next. So all are loaded first, and each workload is run
by all of them in turn, in several rounds; a peer stands still while it is not asked. Medians are over rounds.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import psutil
import torch
from tqdm import tqdm

from benchmarks.common import RESULTS, kernels_name, model_name, write
from benchmarks.engines import WARM_UP_CALLS, Clock, PeerEngine, Sets, UpsizeEngine
from benchmarks.peers import Peer, PeerFailed, peers_of
from benchmarks.server import Server
from benchmarks.texts import prose, sentences
from upsize.catalog.instructions import QUERY_FORM, WEB_SEARCH
from upsize.compute import LoadedModel, load_model, this_machine
from upsize.model.tokenizer import Ids

QUERY = 27
"""Tokens of the one query, as in the peers' scripts: 19 of the default instruction, the question, the end."""
CALLS = 15
"""Of one query in a round."""
RESTARTS = 3
SHAPES = ((512, 1024, 6144), (512, 3072, 1024), (512, 1024, 4096))
"""Rows, inputs, outputs of the products that the limit is measured on."""


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


def _times(f: Callable[[], object], clock: Clock, seconds: float) -> list[float]:
    """Of as many runs as take so long, at least 3, after one that wakes everything."""
    f()
    times: list[float] = []
    while sum(times) < seconds or len(times) < 3:
        started = clock()
        f()
        times.append(clock() - started)
    return times


def measure(
    model: str,
    *,
    dtypes: Sequence[str] = ("int8", "bfloat16"),
    threads: int | None = None,
    work: Path | None = None,
    peers: Path | None = None,
    scripts: Path | None = None,
    documents: int = 50,
    rounds: int = 3,
    seconds: float = 0.5,
    folder: Path = RESULTS,
) -> Path:
    """Measure each dtype, the peers and the limit, in so many rounds."""
    threads = threads or this_machine().threads
    os.environ["OMP_NUM_THREADS"] = str(threads)  # of the compiled network
    torch.set_num_threads(threads)  # of the limit
    clock = time.thread_time if threads == 1 else time.perf_counter
    loaded = [load_model(model, kind="embedding", device="cpu", dtype=dtype) for dtype in dtypes]
    sets = _sets(loaded[0], work, documents)
    others = partial(_peers, peers, scripts, model, sets)
    ours = [UpsizeEngine(each, sets, clock) for each in loaded]
    with ExitStack() as stack:
        theirs, failed = _enter(stack, others(), sets)
        best = _rounds(rounds, [*ours, *theirs], list(sets), partial(limit, clock, seconds))
        lines = [line for each in theirs for line in each.lines()]
    keeping = _keeping(loaded, others(prefixes=True), sets, rounds, clock)
    figures = {dtype: _figures(each, best) | each.figures() for dtype, each in zip(dtypes, ours, strict=True)}
    for dtype, found in figures.items():
        for name in ("queries", "passages"):
            found[name]["of_limit"] = round(found[name]["tokens_per_second"] / found["limit_tokens_per_second"], 3)
        found["shared_tokens_of_a_query"] = _shared(sets["queries"])
        found["restart"] = _restart(model, dtype)
    result: dict[str, Any] = {
        "model": model_name(model),
        "kernels": this_machine().kernels,
        "threads": threads,
        "clock": "CPU time of the thread" if threads == 1 else "wall",
        "n": rounds,
        "limit": {name: round(value / 1e9, 1) for name, value in best.items()},
        "ours": figures,
        "peers": lines + failed,
    } | keeping
    return write(f"cpu-{model_name(model)}-{kernels_name()}-{threads}-threads", result, folder)


def _peers(
    peers: Path | None, scripts: Path | None, model: str, sets: Sets, *, prefixes: bool = False
) -> Iterable[Peer]:
    if peers is None or scripts is None:
        return ()
    return peers_of(peers, scripts, model, max(map(len, sets["passages"])), prefixes=prefixes)


def _enter(stack: ExitStack, peers: Iterable[Peer], sets: Sets) -> tuple[list[PeerEngine], list[dict[str, Any]]]:
    """The peers that load and run, each at its best batch size, and what the others said."""
    running, failed = [], []
    for peer in peers:
        try:
            each = PeerEngine(stack.enter_context(peer), sets)
            each.tune()
            running.append(each)
        except PeerFailed as failure:
            failed.append(peer.label | {"failed": str(failure)})
    return running, failed


def _keeping(
    loaded: Sequence[LoadedModel], peers: Iterable[Peer], sets: Sets, rounds: int, clock: Clock
) -> dict[str, Any]:
    """Pairs beside the peers that keep beginnings: once the others are gone, for memory does not hold them all."""
    sets = {"passages": sets["passages"], "pairs": sets["pairs"]}
    with ExitStack() as stack:
        theirs, failed = _enter(stack, peers, sets)
        if not theirs and not failed:
            return {}
        ours = [UpsizeEngine(each, sets, clock) for each in loaded]
        _rounds(rounds, [*ours, *theirs], ["pairs"], dict)
        figures = {each.loaded.plan.precision: each.figures() for each in ours}
        lines = [line for each in theirs for line in each.lines()]
    return {"keeping_prefixes": {"ours": figures, "peers": lines + failed}}


def _rounds(
    rounds: int,
    engines: Sequence[UpsizeEngine | PeerEngine],
    workloads: Sequence[str],
    limit: Callable[[], dict[str, float]],
) -> dict[str, float]:
    """Run everything; the best that the limit was in any round."""
    best: dict[str, float] = {}
    with tqdm(total=rounds * len(workloads) * len(engines), unit="run") as bar:
        for _ in range(rounds):
            best = {name: max(value, best.get(name, 0.0)) for name, value in limit().items()}
            for workload in workloads:
                for each in engines:
                    each.run(workload)
                    bar.update()
    return best


def _figures(ours: UpsizeEngine, best: dict[str, float]) -> dict[str, Any]:
    loaded = ours.loaded
    config, tensors = loaded.checkpoint.config, loaded.checkpoint.weights.tensors
    products = sum(int(np.prod(t.shape)) for n, t in tensors.items() if n.endswith("_proj.weight"))
    return {
        "precision": loaded.plan.precision,
        "compiled": loaded.plan.compiled,
        "agreement": loaded.quantization_fidelity,
        "layers": config.layers,
        "parameters_in_products": products,
        "limit_tokens_per_second": round(_rate(best, loaded.plan.precision) / (2 * products), 1),
    }


def _rate(best: dict[str, float], precision: str) -> float:
    """Where nothing multiplies bfloat16 itself, its products are float32's."""
    return max(best[precision], best["float32"]) if precision == "bfloat16" else best[precision]


def _sets(loaded: LoadedModel, work: Path | None, documents: int) -> Sets:
    queries, passages = texts_of(loaded, work)
    short = [query[:QUERY] for query in queries if len(query) >= QUERY]
    return {
        "queries": queries,
        "passages": passages,
        "one_query": short[: CALLS + WARM_UP_CALLS],
        "pairs": [np.concatenate((passages[0][:80], p[:200])) for p in _many(passages, documents)],
    }


def texts_of(loaded: LoadedModel, work: Path | None) -> tuple[list[Ids], list[Ids]]:
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


def _restart(model: str, dtype: str) -> dict[str, float]:
    """A server started again: from its start to the first vector over HTTP, and its memory then; medians of several.

    One before them finds the packed form on disk, and leaves it in memory, as a service that is restarted does.
    """
    found = [_start(model, dtype) for _ in range(1 + RESTARTS)][1:]
    return {name: round(median(each[name] for each in found), 3) for name in found[0]}


def _start(model: str, dtype: str) -> dict[str, float]:
    started = time.perf_counter()
    with Server(model, dtype) as server:
        server.post({"input": "How are you today"}).raise_for_status()
        seconds = time.perf_counter() - started
        memory = psutil.Process(server.process.pid).memory_info().rss / 1e9
        return {"first_vector_s": seconds, "cpu_s": server.cpu_seconds(), "resident_gb": memory}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--dtypes", nargs="+", default=["int8", "bfloat16"])
    parser.add_argument("--threads", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--documents", type=int, default=50, help="scored for one query")
    parser.add_argument("--work", type=Path)
    parser.add_argument("--peers", type=Path)
    parser.add_argument("--scripts", type=Path)
    given = parser.parse_args()
    measure(
        given.model,
        dtypes=given.dtypes,
        threads=given.threads,
        rounds=given.rounds,
        work=given.work,
        peers=given.peers,
        scripts=given.scripts,
        documents=given.documents,
    )
