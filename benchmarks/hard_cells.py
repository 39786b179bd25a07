"""Where a plain bootstrap covers too little: rare differences, and queries that share documents. For `calibration`.

Of each cell: how often all differences lie in their intervals, how often "go up" comes where no candidate is better by
more than the margin, how often "stay" where one is, and how often there was enough to judge by. The first three are
shares of the experiments that were judged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from upsize.evaluation.metrics import Mean
from upsize.evaluation.statistics import FEWEST, Bounds, Sample, contrasts, sample_of
from upsize.evaluation.statistics.bootstrap import Moments, critical, tail
from upsize.evaluation.tasks.grouping import grouping_of
from upsize.selection.comparison import compare_candidates
from upsize.selection.decision import bound_matrices, decide

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int], Floats]

MARGIN = 0.01
DRAWS = 1000
"""Of each bootstrap. `choose` takes four times as many: its critical values vary half as much."""
BLOCK = 250
OF_TWELVE, OF_SHARED = 0.2, 0.25
"""Shares of the experiments that cells of twelve candidates, and of clusters, are given: they take longer."""
ICC = 0.3
"""Share of the variance that queries of one document have in common."""


def bounds_of(values: Floats, seed: int, draws: int = DRAWS) -> list[Bounds]:
    """Bounds of each of (experiments, n, candidates) by the functions of `choose`, the draws shared."""
    r, n, m = values.shape
    pairs = m * (m - 1) // 2
    differences = (values @ contrasts(m).T).transpose(1, 0, 2).reshape(n, r * pairs)
    moments = Moments(Sample(differences, range=(-1.0, 1.0)), np.eye(r * pairs))
    whole = moments.bounds(critical(moments.draw(seed, draws), r, 0.95), tail(0.95, pairs))
    parts = {name: getattr(whole, name).reshape(r, pairs) for name in whole.__dataclass_fields__}
    return [Bounds(**{name: part[i] for name, part in parts.items()}) for i in range(r)]


def events(m: int, gain: float, at: float, loss: float, lost: float, noise: float = 0.0) -> tuple[Draw, Floats]:
    """All but the first candidate differ from it on their own few units: `gain` on a share `at`, −`loss` on `lost`."""

    def draw(rng: np.random.Generator, r: int, n: int) -> Floats:
        drawn = rng.random((r, n, m - 1))
        values = np.zeros((r, n, m))
        values[..., 1:] = np.where(drawn < at, gain, np.where(drawn < at + lost, -loss, 0.0))
        values[..., 1:] += noise * rng.standard_normal((r, n, m - 1)) if noise else 0.0
        return values

    truth = np.zeros(m)
    truth[1:] = gain * at - loss * lost
    return draw, truth


def rare_cells() -> Iterable[tuple[str, int, Draw, Floats]]:
    """(name, queries, draw, true qualities)."""
    of = {
        "a gain of 1 on 5 %, a loss of 0.1 on 5 %": (2, 1.0, 0.05, 0.1, 0.05),
        "a loss of 1 on 5 %, a gain of 0.1 on 5 %": (2, 0.1, 0.05, 1.0, 0.05),
        "a gain of 1 on 2 %, a loss of 0.1 on 10 %": (2, 1.0, 0.02, 0.1, 0.1),
        "a gain of 1 on 2 %, all else noise of 0.05": (2, 1.0, 0.02, 0.0, 0.0, 0.05),
        "90 % ties, else a gain of 1": (2, 1.0, 0.1, 0.0, 0.0),
        "97 % ties, else a gain of 1": (2, 1.0, 0.03, 0.0, 0.0),
        "90 % ties, else 1 or −1": (2, 1.0, 0.07, 1.0, 0.03),
        "12 candidates, a gain of 1 on 5 %, a loss of 0.1 on 5 %": (12, 1.0, 0.05, 0.1, 0.05),
        "12 candidates, 90 % ties, else a gain of 0.5": (12, 0.5, 0.1, 0.0, 0.0),
    }
    for name, parameters in of.items():
        draw, truth = events(*parameters)  # type: ignore[arg-type]
        for n in (15, 30, 60, 100, 300):
            yield name, n, draw, truth


def rare(draw: Draw, truth: Floats, n: int, experiments: int, seed: int) -> dict[str, float]:
    """Of one cell of rare differences."""
    rng, m = np.random.default_rng([seed, n]), len(truth)
    block = BLOCK if m < 12 else BLOCK // 10
    told = [
        (found.lower, found.upper)
        for first in range(0, experiments, block)
        for found in bounds_of(draw(rng, min(block, experiments - first), n), seed * 1000 + first)
    ]
    return _shares(told, truth, n >= FEWEST)


def _shares(told: list[tuple[Floats, Floats]], truth: Floats, enough: bool) -> dict[str, float]:
    if not enough or not told:
        return {"covered": 1.0, "false_go_up": 0.0, "false_stay": 0.0, "judged": float(enough)}
    true = contrasts(len(truth)) @ truth
    better = (truth - truth[0]).max() > MARGIN
    decisions = [decide(*bound_matrices(len(truth), low, high), MARGIN).decision for low, high in told]
    inside = [bool(((low <= true + 1e-12) & (high >= true - 1e-12)).all()) for low, high in told]
    return {
        "covered": round(float(np.mean(inside)), 4),
        "false_go_up": 0.0 if better else round(decisions.count("go_up") / len(told), 4),
        "false_stay": round(decisions.count("stay") / len(told), 4) if better else 0.0,
        "judged": 1.0,
    }


def shared_cells() -> Iterable[tuple[str, list[int], float]]:
    """(name, queries of each document, share of the queries that one more document is relevant to)."""
    yield "10 documents of 30 queries", [30] * 10, 0.0
    yield "20 documents of 15 queries", [15] * 20, 0.0
    yield "60 documents of 5 queries", [5] * 60, 0.0
    yield "150 documents of 2 queries", [2] * 150, 0.0
    yield "100 documents, queries by Zipf's law", [max(round(55 / place), 1) for place in range(1, 101)], 0.0
    yield "8 documents of 30 queries", [30] * 8, 0.0
    yield "one document of 100 queries, 100 of one", [100] + [1] * 100, 0.0
    yield "30 documents of 10 queries, and one of all", [10] * 30, 1.0


def shared(sizes: list[int], hub: float, experiments: int, seed: int) -> dict[str, float]:
    """Of one cell of queries that share documents, which is found out from the judgements; and of the same queries
    taken one by one."""
    documents = np.repeat(np.arange(len(sizes)), sizes)
    n, m = len(documents), 3
    links = [{f"d{d}", *(["hub"] if place < hub * n else [])} for place, d in enumerate(documents)]
    grouping = grouping_of([(str(i),) for i in range(n)], [None] * n, links, None, "queries")
    rng, enough = np.random.default_rng([seed, n]), True
    told: list[tuple[Floats, Floats]] = []
    apart: list[tuple[Floats, Floats]] = []
    for experiment in range(experiments):
        common = rng.standard_normal((len(sizes), m))[documents] * ICC**0.5
        values = 0.5 + 0.15 * (common + rng.standard_normal((n, m)) * (1 - ICC) ** 0.5)
        columns = [[{"value": column}] for column in values.T]
        for clusters, kept in ((grouping.clusters, told), (None, apart)):
            found = compare_candidates(
                sample_of(columns, Mean("value"), clusters), MARGIN, seed=experiment, resamples=DRAWS // 2
            )
            enough = not found.too_few if clusters else enough
            kept.append((found.differences.lower, found.differences.upper))
    one_by_one = _shares(apart, np.zeros(m), True)
    return _shares(told, np.zeros(m), enough) | {
        "groups": float(len(set(grouping.clusters or range(n)))),
        "one_by_one_covered": one_by_one["covered"],
        "one_by_one_false_go_up": one_by_one["false_go_up"],
    }


def few(n: int, experiments: int) -> dict[str, float]:
    """What so few queries show of a gain of 0.3: normal values, two candidates. FEWEST is not looked at."""
    rng = np.random.default_rng(n)
    values = 0.4 + 0.15 * rng.standard_normal((experiments, n, 2)) + np.array([0.0, 0.3])
    found = bounds_of(np.clip(values, 0, 1), n)
    return {
        "told": round(float(np.mean([b.lower[0] > MARGIN for b in found])), 4),
        "width": round(float(np.mean([b.upper[0] - b.lower[0] for b in found])), 3),
    }


def measure(experiments: int) -> dict[str, Any]:
    """All of it."""
    return {
        "rare": {
            f"{name}, {n} queries": rare(
                draw, truth, n, round(experiments * (OF_TWELVE if len(truth) > 2 else 1)), seed
            )
            for seed, (name, n, draw, truth) in enumerate(tqdm(list(rare_cells()), desc="rare differences"))
        },
        "shared": {
            name: shared(sizes, hub, round(experiments * OF_SHARED), seed)
            for seed, (name, sizes, hub) in enumerate(tqdm(list(shared_cells()), desc="shared documents"))
        },
        "few": {str(n): few(n, experiments) for n in (3, 5, 8, 10, 15, 20, 30)},
    }


def table(result: dict[str, Any], experiments: int) -> str:
    """The result as a part of docs/choose.md."""
    sizes = sorted({int(key.rsplit(", ", 1)[1].split()[0]) for key in result["rare"]})
    names = list(dict.fromkeys(key.rsplit(", ", 1)[0] for key in result["rare"]))
    lines = [
        'Rare differences: all intervals cover, %; in brackets false "go up" and false "stay" at a margin of '
        f"{MARGIN:g}, %:",
        "",
        "| the others against the first | " + " | ".join(f"{n:,} queries" for n in sizes) + " |",
        "|---|" + "---|" * len(sizes),
    ]
    for name in names:
        cells = (result["rare"][f"{name}, {n} queries"] for n in sizes)
        lines.append(f"| {name} | " + " | ".join(map(_cell, cells)) + " |")
    lines += [
        "",
        f"Queries that share documents, an intra-class correlation of {ICC:g}, no cluster field given:",
        "",
        '| judgements | groups found | all intervals cover (false "go up"), % | the same queries one by one |',
        "|---|---|---|---|",
    ]
    for name, cell in result["shared"].items():
        alone = f"{100 * cell['one_by_one_covered']:.1f} ({100 * cell['one_by_one_false_go_up']:.1f})"
        told = (
            f"{100 * cell['covered']:.1f} ({100 * cell['false_go_up']:.1f})" if cell["judged"] else "too few to judge"
        )
        lines.append(f"| {name} | {cell['groups']:.0f} | {told} | {alone} |")
    lines += [
        "",
        "What few queries would show of a gain of 0.3, were they judged:",
        "",
        "| queries | " + " | ".join(result["few"]) + " |",
        "|---|" + "---|" * len(result["few"]),
        "| shown, % | " + " | ".join(f"{100 * cell['told']:.1f}" for cell in result["few"].values()) + " |",
        "| width of the interval | " + " | ".join(f"{cell['width']:.2f}" for cell in result["few"].values()) + " |",
        "",
        f"Cells of twelve candidates have {round(experiments * OF_TWELVE):,} experiments, those of shared documents "
        f"{round(experiments * OF_SHARED):,}.",
    ]
    return "\n".join(lines)


def _cell(cell: dict[str, float]) -> str:
    if not cell["judged"]:
        return "too few to judge"
    return f"{100 * cell['covered']:.1f} ({100 * cell['false_go_up']:.1f}, {100 * cell['false_stay']:.1f})"
