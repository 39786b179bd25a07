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

**Roofline.** A library's GEMMs alone, on the same machine in the same run, reach the peak GEMM throughput. Divided
by the operations of the network's GEMMs for one token, it gives the roofline in tokens/s. The last layer is
computed only for the last row of each text, which saves 1/28 of the 0.6B. On a processor without bfloat16 products
the roofline of bfloat16 is that of float32.

**Prefix cache**: keys and values of a shared prefix came from earlier texts. The prefix is a query's instruction,
or the template and the query of a rerank prompt.
"""
BESIDE = """Other engines ran on the same ids, in turn in every round, each at its best batch size. They embed the
pairs; reading two logits of the last state in addition costs next to nothing. An engine with a prefix cache runs
the pairs once more in turn with upsize, after the others."""
ROWS = (
    ("queries, tokens/s", "queries", "tokens_per_second"),
    ("share of the roofline", "queries", "of_limit"),
    ("the same, instruction in the prefix cache", "queries_remembering", "tokens_per_second"),
    ("passages, tokens/s", "passages", "tokens_per_second"),
    ("share of the roofline", "passages", "of_limit"),
    ("one query of {query_tokens} tokens, p50 in ms", "one_query", "p50_ms"),
    ("the same, instruction in the prefix cache", "one_query_remembering", "p50_ms"),
    ("pairs that share 80 tokens of 280, tokens/s", "pairs", "tokens_per_second"),
    ("the same, prefix in the prefix cache", "pairs_remembering", "tokens_per_second"),
    ("restart of a server to its first vector, seconds", "restart", "first_vector_s"),
    ("resident memory after that, GB", "restart", "resident_gb"),
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
        f"Clock: {result['clock']}; medians of {rounds}. Peak GEMM throughput: int8 {limit['int8']:.0f} GOP/s, "
        f"bfloat16 {limit['bfloat16']:.0f} GFLOP/s, float32 {limit['float32']:.0f}. {_conditions(result)}",
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
        rows["upsize, prefix cache", dtype] = {
            name: figures[workloads[name]] for name, figures in remembering.items() if figures
        }
    keeping = result.get("keeping_prefixes", {"ours": {}, "peers": []})
    for dtype, ours in keeping["ours"].items():
        figures = ours.get("pairs_remembering", ours["pairs"])
        rows["upsize, prefix cache, beside engines with a prefix cache", dtype] = {
            "pairs": figures["tokens_per_second"]
        }
    for line in result["peers"] + keeping["peers"]:
        if "failed" not in line:
            name = line["peer"] + ", prefix cache" * ("prefixes" in line)
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
    few += ["GB after 32,768 tokens (estimated)", "passages, relative to transformers", "worst centred cosine"]
    return "\n".join(
        [
            f"## A GPU: {machine['gpus'][0]}",
            "",
            "The published shapes with random weights, in batches of 16,384 tokens, with hidden states copied to the",
            "host. Brackets give the MFU: the operations of GEMMs and attention, as a share of the peak bfloat16 GEMM",
            f"throughput of the same run ({limit['bfloat16']:.0f} TFLOP/s), for fp8 too (fp8 GEMMs alone reach",
            f"{limit['fp8']:.0f} TFLOP/s). transformers runs left-padded batches sorted by length, at its best batch",
            "size.",
            f"Torch {result['versions']['torch']}, CUDA {result['cuda']}; {result['date']}. Tokens/s:",
            "",
            *_table(["", "", *texts, "passages"], speed),
            "",
            "The cosine compares with transformers in float32 on the same weights. upsize serves fp8 only if its",
            "centred cosine with bfloat16 on built-in texts is at least 0.97; otherwise it runs in bfloat16 and",
            "logs that.",
            "",
            *_table(few, rest),
            "",
        ]
    )


def _served(short: list[Result], batches: list[Result]) -> str:
    parts = [
        "## What HTTP adds",
        "",
        "The clients are processes on the same cores. Each has one call in flight.",
        "",
    ]
    if short:
        rows = [
            [_kernels(r), r["model"], *(f"{r[key]:,.0f}" for key in ("clients", "requests", "requests_per_second"))]
            + [f"{r[key]:.2f}" for key in ("cpu_ms_a_request", "cpu_ms_beyond_the_model")]
            for r in short
        ]
        head = ["", "model", "clients", "requests", "requests/s", "CPU ms per request", "of these, outside the model"]
        parts += [f"One short text in each call. {_machines(short)}", "", *_table(head, rows), ""]
    if batches:
        rows = [
            [_kernels(r), r["model"], r["dtype"], str(r["clients"]), str(r["texts_a_call"])]
            + [f"{r[key]:,.0f}" for key in ("engine_tokens_per_second", "http_tokens_per_second")]
            + [f"{r['of_engine']:.1%}"]
            for r in batches
        ]
        head = ["", "model", "precision", "clients", "passages per call"]
        head += ["engine, tokens/s", "over HTTP", "share of the engine"]
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
            "## Fidelity of each precision",
            "",
            "Centred cosine with float32: the mean of the set is subtracted from each vector, because the part that",
            f"all texts share inflates the plain cosine. Queries and passages: {counts}. {_conditions(result)}",
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
            "One run, other engines after upsize. Peak memory is that of the process, with weights and libraries. "
            f"{_conditions(results[-1])}",
            "",
            *_table(["model", "tokens", "engine", "precision", "seconds", "peak GB"], rows),
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
            "## Task scores of int8",
            "",
            f"The demo family on labelled tasks: int8 loses {sum(lost) / len(lost):.2f} points on average and "
            f"{max(lost):.2f} at most. Brackets give 95 % intervals over the same units. {_conditions(result)}",
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
