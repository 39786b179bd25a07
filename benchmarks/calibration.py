"""Do the intervals cover, and do verdicts come out right? By simulation, with the functions that `upsize choose` uses.

Three candidates on the same queries. Values are normal, skewed, tied on two thirds of the queries or on nine tenths, or
0 and 1. Coverage: how often all three differences lie in their intervals at once. Verdicts: how often "go up" comes
without a difference; and how often the right verdict comes at the number of queries that an undecided pilot asked for.
Harder cells are in `hard_cells`, each candidate's own interval in `own_quality`.

usage: python -m benchmarks.calibration [--experiments 2000]      # a few minutes on one core
"""

from __future__ import annotations

import argparse
import json
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from benchmarks import hard_cells, own_quality
from benchmarks.common import RESULTS, between, write
from benchmarks.hard_cells import DRAWS, bounds_of
from upsize.selection.comparison import sample_size_to_settle
from upsize.selection.decision import DecisionResult, bound_matrices, decide
from upsize.selection.verdict import Decision

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, int, int, Floats], Floats]

M = 3
BLOCK = 250
"""Experiments that share the draws of the bootstrap; the next block has its own."""
SIZES = (20, 50, 100, 300, 1000, 2000)
MARGIN = 0.05
"""Of the verdicts: so wide that the samples asked for stay within a few thousand."""
PILOTS = (100,)
PAGE = Path(__file__).parents[1] / "docs" / "choose.md"
KINDS = ("right", "right_and_open", "cannot_tell", "wrong")


def normal(rng: np.random.Generator, r: int, n: int, gain: Floats) -> Floats:
    """Values around a query's own level."""
    values: Floats = 0.5 + 0.2 * rng.standard_normal((r, n, 1)) + 0.2 * rng.standard_normal((r, n, M)) + gain
    return values


def skewed(rng: np.random.Generator, r: int, n: int, gain: Floats) -> Floats:
    """A skewed level, and candidates that leave it by exponential amounts of unlike scale."""
    scale = np.array([0.05, 0.1, 0.2])
    values: Floats = rng.beta(2, 5, (r, n, 1)) + rng.exponential(1, (r, n, M)) * scale - scale + gain
    return values


def bimodal(rng: np.random.Generator, r: int, n: int, gain: Floats) -> Floats:
    """0 or 1, as accuracy is, correlated between candidates."""
    return (_uniform(rng, r, n, 0.6) < 0.6 + gain).astype(np.float64)


def tied(rng: np.random.Generator, r: int, n: int, gain: Floats) -> Floats:
    """nDCG of one relevant document: the candidates differ on about a third of the queries."""
    return _ranks(rng, r, n, gain, 0.35)


def rarely_different(rng: np.random.Generator, r: int, n: int, gain: Floats) -> Floats:
    """The same, differing on about one query in ten."""
    return _ranks(rng, r, n, gain, 0.1)


def _ranks(rng: np.random.Generator, r: int, n: int, gain: Floats, differ: float) -> Floats:
    levels = np.array([0.0, 0.39, 0.5, 0.63, 1.0])
    common = rng.choice(levels, p=[0.2, 0.1, 0.1, 0.1, 0.5], size=(r, n, 1))
    own = rng.choice(levels, p=[0.2, 0.1, 0.1, 0.1, 0.5], size=(r, n, M))
    values = np.where(rng.random((r, n, M)) < differ / 2, own, common)
    # A gain turns misses into hits: of the fifth that misses, so many.
    gained: Floats = np.where((values == 0) & (rng.random((r, n, M)) < gain / 0.2), 1.0, values)
    return gained


def _uniform(rng: np.random.Generator, r: int, n: int, correlation: float) -> Floats:
    """Uniform values, correlated between candidates."""
    from scipy.special import ndtr

    z = correlation**0.5 * rng.standard_normal((r, n, 1))
    uniform: Floats = ndtr(z + (1 - correlation) ** 0.5 * rng.standard_normal((r, n, M)))
    return uniform


SCENARIOS: dict[str, Draw] = {f.__name__: f for f in (normal, skewed, bimodal, tied, rarely_different)}
GAINS = {
    "no difference": np.zeros(M),
    "the second is better by twice the margin": np.array([0.0, 2.0, 2.0]) * MARGIN,
    "the third is better by twice the margin": np.array([0.0, 0.0, 2.0]) * MARGIN,
}


def coverage(draw: Draw, n: int, experiments: int, seed: int) -> dict[str, float]:
    """Shares of experiments: all differences lie in their intervals; "go up" at a margin of 0.01 without one."""
    rng, inside, up, blocks = np.random.default_rng([seed, n]), 0, 0, 0
    for first in range(0, experiments, BLOCK):
        size = min(BLOCK, experiments - first)
        for found in bounds_of(draw(rng, size, n, np.zeros(M)), seed * 1000 + first):
            inside += bool(((found.lower <= 1e-12) & (found.upper >= -1e-12)).all())
            up += decide(*bound_matrices(M, found.lower, found.upper), 0.01).decision == "go_up"
        blocks += size
    return {"covered": inside / blocks, "false_go_up": up / blocks}


def verdicts(draw: Draw, gain: Floats, pilot: int, experiments: int, seed: int) -> dict[str, Any]:
    """What comes of pilots, and of the samples that the unsettled ones asked for, the pilot's queries among them."""
    rng = np.random.default_rng([seed, pilot])
    right: Decision = "go_up" if gain.any() else "stay"
    choice = int(np.argmax(gain > 0))
    at_once, later = Counter[str](), Counter[str]()
    asked: dict[int, list[Floats]] = defaultdict(list)
    for first in range(0, experiments, BLOCK):
        values = draw(rng, min(BLOCK, experiments - first), pilot, gain)
        for one, found in zip(values, bounds_of(values, seed * 1000 + first), strict=True):
            answer = decide(*bound_matrices(M, found.lower, found.upper), MARGIN)
            at_once[_kind(answer, right, choice)] += 1
            if answer.open:
                needed = sample_size_to_settle(found, answer.open, M, MARGIN, pilot, pilot)
                assert needed is not None  # without seeds there always is a number
                asked[needed.total].append(one)
    for total, pilots in asked.items():
        for first in range(0, len(pilots), BLOCK):
            begun = np.stack(pilots[first : first + BLOCK])
            values = np.concatenate((begun, draw(rng, len(begun), total - pilot, gain)), axis=1)
            for found in bounds_of(values, seed * 1000 + total + first):
                later[_kind(decide(*bound_matrices(M, found.lower, found.upper), MARGIN), right, choice)] += 1
    numbers = [total for total, pilots in asked.items() for _ in pilots]
    return {
        "pilots": _shares(at_once),
        "asked": len(numbers),
        "asked_for": [round(float(q)) for q in np.percentile(numbers, (10, 50, 90))] if numbers else None,
        "then": _shares(later),
    }


def _kind(answer: DecisionResult, right: Decision, choice: int) -> str:
    """Right in decision and choice; right in the decision with another choice and the rest said to be open; undecided;
    or wrong."""
    if answer.decision == "cannot_tell":
        return "cannot_tell"
    if answer.decision == right and answer.choice == choice:
        return "right"
    return "right_and_open" if answer.decision == right and not answer.settled else "wrong"


def _shares(counts: Counter[str]) -> dict[str, float]:
    return {kind: round(counts[kind] / max(counts.total(), 1), 4) for kind in KINDS}


def measure(experiments: int, sizes: tuple[int, ...] = SIZES, pilots: tuple[int, ...] = PILOTS) -> dict[str, Any]:
    """All of it."""
    started = time.process_time()
    covered = {
        f"{name}, {n} queries": coverage(draw, n, experiments, seed)
        for seed, (name, draw) in enumerate(SCENARIOS.items())
        for n in tqdm(sizes, desc=f"coverage, {name}")
    }
    told = {
        f"{name}, {what}, pilot of {pilot}": verdicts(draw, gain, pilot, experiments, seed)
        for seed, (name, draw) in enumerate(SCENARIOS.items())
        for what, gain in tqdm(GAINS.items(), desc=f"verdicts, {name}")
        for pilot in pilots
    }
    return {
        "experiments": experiments,
        "standard_error": round((0.05 * 0.95 / experiments) ** 0.5, 4),
        "resamples": DRAWS,
        "margin": MARGIN,
        "coverage": covered,
        "verdicts": told,
        **hard_cells.measure(experiments),
        **own_quality.measure(experiments),
        "cpu_seconds": round(time.process_time() - started),
    }


def table(result: dict[str, Any]) -> str:
    """The result as the table of docs/choose.md."""
    coverage, verdicts = result["coverage"], result["verdicts"]
    sizes = sorted({int(key.rsplit(", ", 1)[1].split()[0]) for key in coverage})
    names = list(dict.fromkeys(key.rsplit(", ", 1)[0] for key in coverage))
    lines = [
        f"{result['experiments']:,} experiments in each cell, so a share of 95 % is good to "
        f"{100 * result['standard_error']:.1f} points (one standard error).",
        "",
        'All three intervals cover, of experiments, %; in brackets false "go up" at a margin of 0.01:',
        "",
        "| values | " + " | ".join(f"{n:,} queries" for n in sizes) + " |",
        "|---|" + "---|" * len(sizes),
    ]
    for name in names:
        cells = (coverage[f"{name}, {n} queries"] for n in sizes)
        told = " | ".join(f"{100 * c['covered']:.1f} ({100 * c['false_go_up']:.1f})" for c in cells)
        lines.append(f"| {name.replace('_', ' ')} | {told} |")
    lines += [
        "",
        f"Verdicts at a margin of {result['margin']:g}; what the unsettled pilots asked for is the median:",
        "",
        "| values, truth | pilot settled rightly, % | wrong, % | asked for | right at that, % | wrong at that, % |",
        "|---|---|---|---|---|---|",
    ]
    for name, v in verdicts.items():
        asked = "–" if v["asked_for"] is None else f"{v['asked_for'][1]:,.0f}"
        pilots, then = v["pilots"], v["then"]
        later = ("–", "–") if v["asked_for"] is None else (f"{100 * then[k]:.1f}" for k in ("right", "wrong"))
        lines.append(
            f"| {name.replace('_', ' ')} | {100 * pilots['right']:.1f} | {100 * pilots['wrong']:.1f} | {asked} | "
            + " | ".join(later)
            + " |"
        )
    return "\n".join([*lines, "", hard_cells.table(result, result["experiments"]), "", own_quality.table(result)])


def filled(text: str) -> str:
    """docs/choose.md with its table between the marks."""
    result = json.loads((RESULTS / "calibration.json").read_text(encoding="utf-8"))
    return between(text, "calibration", table(result))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--experiments", type=int, default=2000)
    parser.add_argument("--page", action="store_true", help="Only put the result into docs/choose.md.")
    asked = parser.parse_args()
    if not asked.page:
        write("calibration", measure(asked.experiments))
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
