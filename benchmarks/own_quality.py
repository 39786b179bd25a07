"""Do the intervals of a candidate's own quality cover, and how wide are they? A part of `calibration`.

Of each cell: how often the true mean lies below, within and above the interval, and its mean width as a share of
Student's, which covers less than it says where values are few and skewed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import stats
from tqdm import tqdm

from benchmarks.hard_cells import ICC
from upsize.evaluation.metrics import Mean
from upsize.evaluation.statistics import Sample, quality_bounds, sample_of

Floats = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, ...]], Floats]

SIZES = (10, 20, 50, 100, 300, 1000)
BLOCK = 100
LEVELS = np.array([0.0, 0.39, 0.5, 0.63, 1.0])
OFTEN = np.array([0.2, 0.1, 0.1, 0.1, 0.5])
OF_CLUSTERS = 0.25
"""Share of the experiments that cells of clusters are given: they take longer."""


def shapes() -> dict[str, tuple[Draw, float]]:
    """(draw, true mean) of each."""
    return {
        "accuracy of 0.6": (lambda rng, of: (rng.random(of) < 0.6).astype(np.float64), 0.6),
        "accuracy of 0.97": (lambda rng, of: (rng.random(of) < 0.97).astype(np.float64), 0.97),
        "nDCG of one relevant document": (lambda rng, of: rng.choice(LEVELS, p=OFTEN, size=of), float(LEVELS @ OFTEN)),
        "the same, nearly perfect": (lambda rng, of: np.where(rng.random(of) < 0.05, 0.39, 1.0), 0.9695),
        "normal, within the range": (lambda rng, of: np.clip(0.5 + 0.2 * rng.standard_normal(of), 0, 1), 0.5),
        "skewed": (lambda rng, of: rng.beta(2, 5, of), 2 / 7),
        "mostly small, rarely 1": (lambda rng, of: np.where(rng.random(of) < 0.05, 1.0, 0.1 * rng.random(of)), 0.0975),
    }


def alone(draw: Draw, truth: float, n: int, experiments: int, seed: int) -> dict[str, float]:
    """Of independent units."""
    rng, told, student = np.random.default_rng([seed, n]), [], []
    for first in range(0, experiments, BLOCK):
        values = draw(rng, (n, min(BLOCK, experiments - first)))
        found = quality_bounds(Sample(values, range=(0.0, 1.0)))
        told.append(np.stack([found.lower, found.upper]))
        student.append(2 * stats.t.ppf(0.975, n - 1) * values.std(axis=0, ddof=1) / n**0.5)
    lower, upper = np.concatenate(told, axis=1)
    return _shares(lower, upper, truth) | {
        "of_student": _figure((upper - lower).mean() / np.concatenate(student).mean())
    }


def cluster_cells() -> dict[str, list[int]]:
    """Units of each cluster."""
    return {
        "4 clusters of 8 units": [8] * 4,
        "10 clusters of 30 units": [30] * 10,
        "20 clusters of 15 units": [15] * 20,
        "60 clusters of 5 units": [5] * 60,
        "100 clusters by Zipf's law": [max(round(55 / place), 1) for place in range(1, 101)],
    }


def clustered(sizes: list[int], experiments: int, seed: int) -> dict[str, float]:
    """Of units whose clusters have an intra-class correlation of ICC."""
    rng = np.random.default_rng([seed, len(sizes)])
    of = np.repeat(np.arange(len(sizes)), sizes)
    names = [str(place) for place in of]
    common = rng.standard_normal((experiments, len(sizes)))[:, of] * ICC**0.5
    values = np.clip(0.5 + 0.15 * (common + rng.standard_normal(common.shape) * (1 - ICC) ** 0.5), 0, 1)
    found = quality_bounds(sample_of([[{"value": one}] for one in values], Mean("value"), names))
    return _shares(found.lower, found.upper, 0.5) | {"width": _figure((found.upper - found.lower).mean())}


def _shares(lower: Floats, upper: Floats, truth: float) -> dict[str, float]:
    below, above = (lower > truth + 1e-9).mean(), (upper < truth - 1e-9).mean()
    return {"covered": _figure(1 - below - above), "below": _figure(below), "above": _figure(above)}


def _figure(value: Any) -> float:
    return round(float(value), 4)


def measure(experiments: int) -> dict[str, Any]:
    """All of it."""
    cells: Iterable[tuple[int, tuple[str, tuple[Draw, float]]]] = enumerate(tqdm(shapes().items(), desc="own quality"))
    return {
        "quality": {
            f"{name}, {n} units": alone(draw, truth, n, experiments, seed)
            for seed, (name, (draw, truth)) in cells
            for n in SIZES
        },
        "quality_of_clusters": {
            name: clustered(sizes, round(experiments * OF_CLUSTERS), seed)
            for seed, (name, sizes) in enumerate(cluster_cells().items())
        },
    }


def table(result: dict[str, Any]) -> str:
    """The result as a part of docs/choose.md."""
    names = list(dict.fromkeys(key.rsplit(", ", 1)[0] for key in result["quality"]))
    lines = [
        "Each candidate's own quality: its interval covers, %; in brackets its width as a share of Student's:",
        "",
        "| values | " + " | ".join(f"{n:,} units" for n in SIZES) + " |",
        "|---|" + "---|" * len(SIZES),
    ]
    for name in names:
        cells = (result["quality"][f"{name}, {n} units"] for n in SIZES)
        told = " | ".join(f"{100 * c['covered']:.1f} ({c['of_student']:.2f})" for c in cells)
        lines.append(f"| {name} | {told} |")
    lines += [
        "",
        f"The same of clusters, an intra-class correlation of {ICC:g}:",
        "",
        "| units | interval covers, % | width |",
        "|---|---|---|",
    ]
    for name, cell in result["quality_of_clusters"].items():
        lines.append(f"| {name} | {100 * cell['covered']:.1f} | {cell['width']:.2f} |")
    return "\n".join(lines)
