"""Write docs/performance.md from what `benchmarks.cpu`, `.gpu`, `.server`, `.long_text`, `.accuracy` and `.precision`
found.

usage: python -m benchmarks.performance            # the tests check that this changes nothing
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from itertools import groupby
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS
from benchmarks.cpu import QUERY

PAGE = Path(__file__).resolve().parents[1] / "docs" / "performance.md"
HEAD = """# Performance

Written by `python -m benchmarks.performance` from the results in [benchmarks/results](../benchmarks/results).

**The limit** is what a library's bare products reach on the same machine in the same run, with nothing between them,
divided by the operations of the network's products for one token. The last layer is computed for last rows alone, so
1/28 of the 0.6B is saved from it. Where nothing multiplies bfloat16 its limit is that of float32. "Remembering" means
that keys and values of a beginning that texts share were kept from earlier texts: a query's instruction, a rerank
prompt's template and query.
"""
BESIDE = """Beside peers on the same ids, in turn in every round, each at the best of its batch sizes. Peers embed the
pairs: to read two logits of the last state costs nothing beside. A peer that can keep prefixes does pairs once more
with ours in turn, when the others are gone."""
ROWS = (
    ("queries, tokens/s", "queries", "tokens_per_second"),
    ("of the limit", "queries", "of_limit"),
    ("the same, remembering the instruction", "queries_remembering", "tokens_per_second"),
    ("passages, tokens/s", "passages", "tokens_per_second"),
    ("of the limit", "passages", "of_limit"),
    ("one query of {query_tokens} tokens, p50 in ms", "one_query", "p50_ms"),
    ("the same, remembering the instruction", "one_query_remembering", "p50_ms"),
    ("pairs that share 80 tokens of 280, tokens/s", "pairs", "tokens_per_second"),
    ("the same, remembering them", "pairs_remembering", "tokens_per_second"),
    ("a server's restart to its first vector, seconds", "restart", "first_vector_s"),
    ("its resident memory then, GB", "restart", "resident_gb"),
)
"""A label, a group of figures, a figure."""

Result = dict[str, Any]


def page(folder: Path = RESULTS) -> str:
    """The whole document."""
    parts = [HEAD, *map(_speed, _results(folder, "cpu-*.json"))]
    parts += [_gpu(result) for result in _results(folder, "gpu-*.json")]
    short, batches = (_results(folder, f"server-{kind}-*.json") for kind in ("short", "batches"))
    if short or batches:
        parts.append(_served(short, batches))
    long = sorted(_results(folder, "long-text-*.json"), key=_kernels)
    parts += [_long(kernels, list(results)) for kernels, results in groupby(long, _kernels)]
    parts += [_accuracy(result) for result in _results(folder, "accuracy.json")]
    parts += [_scores(result) for result in _results(folder, "precision.json")]
    return "\n".join(parts)


def _results(folder: Path, pattern: str) -> list[Result]:
    return [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob(pattern))]


def _kernels(result: Result) -> str:
    return result["kernels"] or "torch"


def _machines(results: list[Result]) -> str:
    return " ".join(f"{_kernels(result)}: {_conditions(result)}" for result in results)


def _conditions(result: Result) -> str:
    machine, versions = result["machine"], result["versions"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB; "
        f"torch {versions['torch']}; {result['date']}."
    )


def _speed(result: Result) -> str:
    dtypes = list(result["ours"])
    threads = f"{result['threads']} thread" + "s" * (result["threads"] > 1)
    limit, rounds = result["limit"], f"{result['n']} round" + "s" * (result["n"] > 1)
    tokens = {"query_tokens": result["ours"][dtypes[0]]["one_query"]["tokens"]}

    def cells(group: str, figure: str) -> list[str]:
        return [_cell(result["ours"][dtype], group, figure) for dtype in dtypes]

    lines = [
        f"## {result['model']}, {result['kernels']}, {threads}",
        "",
        f"Clock: {result['clock']}; medians of {rounds}. Limit: int8 {limit['int8']:.0f} GOP/s, bfloat16 "
        f"{limit['bfloat16']:.0f} GFLOP/s, float32 {limit['float32']:.0f}. {_conditions(result)}",
        "",
        *_table(
            ["", *dtypes],
            ([label.format(**tokens), *(_cell(result["ours"][d], g, f) for d in dtypes)] for label, g, f in ROWS),
        ),
        "",
    ]
    if result.get("peers"):
        lines += [BESIDE, "", *_beside(result), ""]
    return "\n".join(lines)


def _beside(result: Result) -> list[str]:
    """Ours and the peers', a line each."""
    throughput = dict.fromkeys(("queries", "passages", "pairs"), "tokens_per_second")
    workloads = throughput | {"one_query": "p50_ms"}
    rows: dict[tuple[str, str], dict[str, float]] = {}
    for dtype, ours in result["ours"].items():
        rows["upsize", dtype] = {name: ours[name][figure] for name, figure in workloads.items()}
        remembering = {name: ours.get(f"{name}_remembering") for name in workloads}
        rows["upsize, remembering", dtype] = {
            name: figures[workloads[name]] for name, figures in remembering.items() if figures
        }
    keeping = result.get("keeping_prefixes", {"ours": {}, "peers": []})
    for dtype, ours in keeping["ours"].items():
        figures = ours.get("pairs_remembering", ours["pairs"])
        rows["upsize, remembering, beside who keeps prefixes", dtype] = {"pairs": figures["tokens_per_second"]}
    for line in result["peers"] + keeping["peers"]:
        if "failed" not in line:
            name = line["peer"] + ", keeping prefixes" * ("prefixes" in line)
            row = rows.setdefault((name, line["precision"]), {})
            row[line["workload"]] = line[workloads[line["workload"]]]
    head = ["", "precision", *(f"{name}, tokens/s" for name in throughput), f"one query of {QUERY} tokens, ms"]
    cells = ([f"{row[name]:,.0f}" if name in row else "–" for name in workloads] for row in rows.values())
    return _table(head, ([*key, *cell] for key, cell in zip(rows, cells, strict=True)))


def _cell(figures: Result, group: str, figure: str) -> str:
    value = figures.get(group, {}).get(figure)
    if value is None:
        return "–"
    return f"{value:.0%}" if figure == "of_limit" else f"{value:,.0f}" if value >= 100 else f"{value:g}"


def _gpu(result: Result) -> str:
    """A GPU: throughput and MFU, latency, memory, and transformers beside."""
    machine, limit = result["machine"], result["limit_tflops"]
    lengths = [name for name in next(iter(result["sizes"].values()))["bfloat16"] if name.startswith("texts_of_")]
    speed, rest = [], []
    for size, figures in result["sizes"].items():
        theirs = figures.get("transformers")
        for precision, r in figures.items():
            if precision == "transformers":
                continue
            cells = [f"{r[name]['tokens_per_second']:,} ({r[name]['mfu']:.0%})" for name in (*lengths, "passages")]
            speed.append([size, precision, *cells])
            memory, long = r["memory_gb"], r["long_text"]
            told = [f"{memory[part]:.2f} ({memory[part + '_estimated']:.2f})" for part in ("batches", "long_text")]
            ratio = r["passages"]["tokens_per_second"] / theirs["tokens_per_second"] if theirs else None
            beside = [f"{ratio:.2f}×", f"{r['centred_cosine']:.4f}"] if theirs else ["–", "–"]
            pairs = f"{r['pairs']['pairs_per_second']:,.0f}"
            rest.append(
                [size, precision, f"{r['one_query']['p50_ms']:g}", pairs, f"{long['seconds']:.2f}", *told, *beside]
            )
        if theirs:
            own = [f"{theirs['one_query_p50_ms']:g}", "–", "–", "–", "–", "1", f"{theirs['centred_cosine']:.4f}"]
            rest.append([size, "transformers, bfloat16", *own])
            speed.append([size, "transformers, bfloat16", *["–"] * len(lengths), f"{theirs['tokens_per_second']:,}"])
    texts = [f"of {name.removeprefix('texts_of_')} tokens" for name in lengths]
    few = ["", "", "one query, p50 ms", "pairs of 280 tokens/s", "32,768 tokens, s", "GB in batches (estimated)"]
    few += ["GB then (estimated)", "passages, to transformers", "worst centred cosine"]
    return "\n".join(
        [
            f"## A GPU: {machine['gpus'][0]}",
            "",
            "The published shapes with random weights, in batches of 16,384 tokens, states back on the host. In",
            "brackets MFU: operations of products and attention over those of bare bfloat16 products in the same",
            f"run, {limit['bfloat16']:.0f} TFLOP/s, of fp8 too (whose own are {limit['fp8']:.0f}). transformers runs",
            "left-padded batches sorted by length, at the best of its batch sizes.",
            f"Torch {result['versions']['torch']}, CUDA {result['cuda']}; {result['date']}. Tokens/s:",
            "",
            *_table(["", "", *texts, "passages"], speed),
            "",
            "The cosine is with transformers in float32 on the same weights. fp8 is served where it keeps 0.97 of",
            "bfloat16 on built-in texts; else the model runs in bfloat16, and says so.",
            "",
            *_table(few, rest),
            "",
        ]
    )


def _served(short: list[Result], batches: list[Result]) -> str:
    parts = [
        "## What HTTP adds",
        "",
        "The clients are processes on the same cores, each with one call out at a time.",
        "",
    ]
    if short:
        rows = [
            [_kernels(r), r["model"], *(f"{r[key]:,.0f}" for key in ("clients", "requests", "requests_per_second"))]
            + [f"{r[key]:.2f}" for key in ("cpu_ms_a_request", "cpu_ms_beyond_the_model")]
            for r in short
        ]
        head = ["", "model", "clients", "requests", "requests/s", "CPU ms a request", "of these beyond the model's"]
        parts += [f"One short text a call. {_machines(short)}", "", *_table(head, rows), ""]
    if batches:
        rows = [
            [_kernels(r), r["model"], r["dtype"], str(r["clients"]), str(r["texts_a_call"])]
            + [f"{r[key]:,.0f}" for key in ("engine_tokens_per_second", "http_tokens_per_second")]
            + [f"{r['of_engine']:.1%}"]
            for r in batches
        ]
        head = ["", "model", "precision", "clients", "passages a call"]
        head += ["engine, tokens/s", "over HTTP", "of the engine's"]
        parts += [f"Batches of passages. {_machines(batches)}", "", *_table(head, rows), ""]
    return "\n".join(parts)


def _accuracy(result: Result) -> str:
    rows = []
    for model, figures in result["models"].items():
        for dtype in ("bfloat16", "int8"):
            cells = [f"{figures[dtype][s][k]:.4f}" for s in ("queries", "passages") for k in ("worst", "mean")]
            rows.append([model, dtype, *cells])
    counts = "; ".join(f"{m} {f['n']['queries']} and {f['n']['passages']}" for m, f in result["models"].items())
    head = ["model", "precision", "queries, worst", "mean", "passages, worst", "mean"]
    return "\n".join(
        [
            "## What a precision keeps",
            "",
            "Centred cosine with float32: each vector less the mean of its set, for what all texts share flatters the",
            f"plain one. Queries and passages: {counts}. {_conditions(result)}",
            "",
            *_table(head, rows),
            "",
        ]
    )


def _long(kernels: str, results: list[Result]) -> str:
    """Every long text of one kind of machine in every precision, the peers that ran beside it below."""
    rows = []
    for r in results:
        ran = [r["model"], f"{r['tokens']:,}"]
        rows.append([*ran, "upsize", r["precision"], f"{r['seconds']:,.0f}", f"{r['peak_gb']:.2f}"])
        for peer in r.get("peers", ()):
            told = [f"{peer['seconds']:,.0f}", f"{peer['peak_gb']:.2f}"] if "seconds" in peer else [peer["failed"], "–"]
            rows.append([*ran, peer["peer"], peer["precision"] or "–", *told])
    return "\n".join(
        [
            f"## One long text, {kernels}",
            "",
            "Run once, peers after ours; peak memory of the process, weights and libraries included. "
            f"{_conditions(results[-1])}",
            "",
            *_table(["model", "tokens", "by", "precision", "seconds", "peak GB"], rows),
            "",
        ]
    )


def _scores(result: Result) -> str:
    rows, lost = [], []
    for model, tasks in result["scores"].items():
        for task, r in tasks.items():
            points = r["lost_points"]
            lost.append(points["value"])
            told = f"{points['value']:+.2f} ({points['low']:+.2f} to {points['high']:+.2f})"
            rows.append([model, task, f"{r['bfloat16']:.3f}", f"{r['int8']:.3f}", told])
    return "\n".join(
        [
            "## What int8 scores",
            "",
            f"The demo family on labelled tasks: int8 loses {sum(lost) / len(lost):.2f} points on average and "
            f"{max(lost):.2f} at most; in brackets 95 % intervals over the same units. {_conditions(result)}",
            "",
            *_table(["model", "task", "bfloat16", "int8", "points lost"], rows),
            "",
        ]
    )


def _table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
    print(f"{PAGE.name}: written")
