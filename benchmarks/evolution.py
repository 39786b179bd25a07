"""Put the results on indexes into docs/indexes.md, between its marks.

usage: python -m benchmarks.evolution       # the tests check that this changes nothing
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, between

PAGE = Path(__file__).resolve().parents[1] / "docs" / "indexes.md"

Result = dict[str, Any]


def _read(name: str) -> Result | None:
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None


def table(head: list[str], rows: Iterable[list[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def conditions(result: Result) -> str:
    """Machine and date."""
    machine = result["machine"]
    return (
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gb']:.0f} GB; "
        f"lancedb {result['versions'].get('lancedb', '?')}; {result['date']}."
    )


def _move() -> list[str]:
    r = _read("index-move-50000")
    if r is None:
        return []
    turn, phases = r["turn_s"], r["phases"]
    rates = ", ".join(f"{rate:g} {kind}s" for kind, rate in r["rates_per_second"].items()).replace(
        "searchs", "searches"
    )
    rows = [
        [
            phase,
            *(
                f"{found[kind]['p50_ms']:g} / {found[kind]['p95_ms']:g}" if kind in found else "–"
                for kind in ("search", "add", "update", "delete")
            ),
            str(sum(k["failed"] for k in found.values())),
        ]
        for phase, found in phases.items()
        if phase not in ("begin", "finished")
    ]
    return [
        "### A move under traffic",
        "",
        f"{r['texts']:,} sentences in {r['languages']} languages move from `{r['source']}` to `{r['target']}` in a "
        f"service, under an open-loop load of {rates} per second throughout. The plan estimated {r['planned_s']:g} s, "
        f"the backfill took {r['backfill_s']:g} s under this load. Of {r['requests']:,} requests {r['failed']} failed. "
        f"The p95 of searches during the backfill was {r['search_p95_backfill_over_idle']:g} times that of an idle "
        f"service. The switch took {turn['switched']} s, the rollback {turn['rolled back']} s. Of what the "
        f"traffic wrote and deleted, {r['written_and_wrong_at_the_end']} and {r['deleted_and_there_at_the_end']} "
        f"documents were wrong at the end. {conditions(r)}",
        "",
        *table(["phase", "search, p50 / p95 ms", "add", "update", "delete", "failed"], rows),
        "",
    ]


def _crashes() -> list[str]:
    lines = []
    for store in ("lancedb", "postgresql"):
        if r := _read(f"crashes-{store}"):
            works = ", ".join(f"{work} {n}" for work, n in r["killed_in"].items())
            lines.append(
                [store, str(r["kills"]), works, str(len(r["faults"])), f"{r['seconds_until_in_step']['most']:.2f} s"]
            )
    if not lines:
        return []
    return [
        "### Killed at random moments",
        "",
        "The benchmark kills the process with `kill -9` in the middle of the work named, opens the index, and compares",
        "everything in it with what had been acknowledged: each write is there once, each delete is gone from every",
        "generation, the active generation is valid, and every vector is that of its text",
        "(`python -m benchmarks.crashes`; the result has the seeds).",
        "",
        *table(["store", "kills", "killed in", "faults", "up to date again within"], lines),
        "",
    ]


def _faults() -> list[str]:
    r = _read("faults")
    if r is None:
        return []
    rows = [[f["fault"], f["message"].replace("|", "\\|").replace("\n", " ")[:420], f["outcome"]] for f in r["rows"]]
    return ["### Faults and mistakes", "", *table(["fault", "message", "outcome"], rows), ""]


def _ann() -> list[str]:
    r = _read("ann")
    if r is None:
        return []
    rows = []
    for s in r["sizes"]:
        what = "real" if s["real"] else "real, and noisy copies of them"
        exact, near, funnel = s["exact"], s["approximate"], s["funnel"]
        base = [f"{s['vectors']:,} × {s['dimension']}, {what}"]
        rows.append(
            [*base, "exact", "1", f"{exact['p50_ms']:g} / {exact['p95_ms']:g}", f"{exact['bytes'] / 1e6:.0f}", "–"]
        )
        extra = f"+{near['bytes_more'] / 1e6:.0f}" if near["bytes_more"] > 0 else "–"  # versions were pruned meanwhile
        label = "approximate" + ("" if near["used_by_default"] else " (not used at this size)")
        rows.append(
            [
                "",
                label,
                f"{near['recall']:.3f}",
                f"{near['p50_ms']:g} / {near['p95_ms']:g}",
                extra,
                f"{near['build_s']:g} s",
            ]
        )
        for candidates, found in funnel["candidates"].items():
            rows.append(
                [
                    "",
                    f"funnel, {funnel['coarse']} values, {candidates} candidates",
                    f"{found['recall']:.3f}",
                    f"{found['p50_ms']:g} / {found['p95_ms']:g}",
                    "–",
                    "–",
                ]
            )
    return [
        "### Exact, approximate, funnel",
        "",
        f"LanceDB, vectors of `{r['model']}`, {r['queries']} queries, recall@{r['k']} against the exact answer. "
        f"{conditions(r)}",
        "",
        *table(["vectors", "search", "recall", "p50 / p95 ms", "MB", "build"], rows),
        "",
    ]


def _ladder() -> list[str]:
    r = _read("ladder")
    if r is None:
        return []
    lines = [
        "### The cascade",
        "",
        f"L0 is `{r['small']}`, L3 is `{r['large']}`, L1 reranks with `{r['reranker']}`. The table shows nDCG@10 with "
        "95 % intervals, the share of the gap between L0 and L3 that a stage recovers, and the median time of a "
        "search. The time in brackets is that of L2 with no vector kept. "
        f"{conditions(r)}",
        "",
        "![nDCG@10 over latency](pictures/ladder.svg)",
        "",
    ]
    for name, told in r["datasets"].items():
        rows = []
        for way in told["ways"]:
            share = way["share_of_the_gap"]
            cold = f" ({way['cold_p50_ms']:g})" if way["cold_p50_ms"] is not None else ""
            rows.append(
                [
                    way["name"],
                    f"{way['estimate']:.3f} ({way['lower']:.3f} to {way['upper']:.3f})",
                    f"{share['estimate']:.0%} ({share['lower']:.0%} to {share['upper']:.0%})" if share else "–",
                    f"{way['p50_ms']:.1f}{cold}",
                ]
            )
        lines += [
            f"**{name}**, {told['queries']:,} queries, {told['documents']:,} documents",
            "",
            *table(["stage", "nDCG@10", "share of the gap", "ms"], rows),
            "",
        ]
    return lines


def _growth() -> list[str]:
    r = _read("growth")
    if r is None:
        return []
    kinds = {"search_ms": "search", "add_one_ms": "add one", "add_256_ms": "add 256", "delete_one_ms": "delete one"}
    rows = [
        [
            f"{s['documents']:,}" + (" (approximate)" if s["approximate"] else ""),
            *(f"{s[k]['p50']:g} / {s[k]['p95']:g}" for k in kinds),
            f"{s['adds_per_second']:,}",
            f"{s['vector_bytes_each']:.0f} + {s['journal_bytes_each']:.0f} + {s['documents_bytes_each']:.0f}",
        ]
        for s in r["sizes"]
    ]
    slopes = ["slope", *(f"{r['slopes'][k]:g}" for k in kinds), "", ""]
    return [
        "### Growth",
        "",
        f"`{r['model']}`, embedding included; p50 / p95 in milliseconds. The slope is that of log milliseconds over "
        f"log documents: 0 does not grow, 1 grows in proportion. {conditions(r)}",
        "",
        *table(
            ["documents", *kinds.values(), "adds a second", "bytes: vectors + journal + documents"], [*rows, slopes]
        ),
        "",
    ]


PARTS: tuple[Callable[[], list[str]], ...] = (_move, _crashes, _faults, _ann, _ladder, _growth)


def filled(text: str) -> str:
    """The page with its results."""
    return between(text, "results", "\n".join(line for part in PARTS for line in part()).strip())


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    print(f"{PAGE.name}: written")
