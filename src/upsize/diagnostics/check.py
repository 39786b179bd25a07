"""Figures, limits and verdicts of a verification. Pure: what was measured comes in, what it is worth goes out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

import numpy as np

from upsize.compute.cosine import centred_cosines, cosines
from upsize.model.pooling import Vectors
from upsize.number_format import plain

Status = Literal["passed", "failed", "differs", "skipped"]
"""`differs`: not what was published, which is no fault of a checkpoint that is not the published one."""

EXACT_VECTORS = 1e-5
"""Greatest difference of any value of two unit vectors, both computed in float32."""
EXACT_LOG_ODDS = 1e-4
COSINE, CENTRED_COSINE = 0.9997, 0.997
"""What a half-precision vector keeps of the float32 one. All texts share a large common component, which flatters the
plain cosine; the centred one, after subtracting the set's mean, does not."""
INT8_COSINE, INT8_CENTRED_COSINE = 0.99, 0.985
"""The same of int8."""
LOG_ODDS = 0.25
"""Two logits near 11 are each rounded to 1/16 in bfloat16, and the layers before add theirs."""
CORRELATION = 0.99
"""Of half-precision log-odds with float32 ones: a difference small beside LOG_ODDS can still be all there is."""
INVARIANT_COSINE = 0.9999
"""A text alone and in a batch, in half precision, where sums may be ordered differently."""
INVARIANT_LOG_ODDS = 0.05


@dataclass(frozen=True)
class Figure:
    """A measured value and the limit that it must keep."""

    name: str
    value: float
    limit: float
    at_least: bool = False
    """Whether the limit is the least the value may be; otherwise the most."""

    @property
    def holds(self) -> bool:
        """Whether the limit is kept. NaN keeps none."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def value_text(self) -> str:
        """The value, in as many digits as its distance from the limit needs."""
        return _number(self.value, self.at_least)

    @property
    def limit_text(self) -> str:
        """The limit with its sense, such as `≤ 1e-05`."""
        return f"{'≥' if self.at_least else '≤'} {_number(self.limit, self.at_least)}"


@dataclass(frozen=True)
class Check:
    """One check's outcome."""

    name: str
    status: Status
    figures: tuple[Figure, ...] = field(default=())
    note: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As plain values; a value that is no number becomes a string, which JSON can hold."""
        plain = asdict(self)
        for shown, figure in zip(plain["figures"], self.figures, strict=True):
            shown["value"] = figure.value if math.isfinite(figure.value) else str(figure.value)
            shown["holds"] = figure.holds
        return plain


def check_figures(name: str, figures: Sequence[Figure], note: str = "", otherwise: Status = "failed") -> Check:
    """Passed where every figure keeps its limit, or else what `otherwise` says. No figure at all proves nothing."""
    good = bool(figures) and all(f.holds for f in figures)
    return Check(name, "passed" if good else otherwise, tuple(figures), note)


def vector_figures(ours: Vectors, theirs: Vectors, precision: str) -> tuple[Figure, ...]:
    """Two sets of unit vectors (n, dimension) of the same texts: how far apart, in the worst text."""
    if precision == "float32":
        return (Figure("max |difference|", greatest_difference(ours, theirs), EXACT_VECTORS),)
    plain, centred = (INT8_COSINE, INT8_CENTRED_COSINE) if precision == "int8" else (COSINE, CENTRED_COSINE)
    return (
        Figure("cosine", float(cosines(ours, theirs).min()), plain, at_least=True),
        Figure("centred cosine", float(centred_cosines(ours, theirs, own_means=False).min()), centred, at_least=True),
    )


def log_odds_figures(ours: Vectors, theirs: Vectors, precision: str) -> tuple[Figure, ...]:
    """Two sets of log-odds (n,) of the same pairs: how far apart, in the worst pair."""
    difference = greatest_difference(ours, theirs)
    if precision == "float32":
        return (Figure("max |difference|", difference, EXACT_LOG_ODDS),)
    return (
        Figure("max |difference|", difference, LOG_ODDS),
        Figure("correlation", correlation(ours, theirs), CORRELATION, at_least=True),
    )


def invariance_figures(alone: Vectors, together: Vectors, precision: str) -> tuple[Figure, ...]:
    """Values (n, dimension) or (n,) of texts run alone and in batches."""
    difference = greatest_difference(alone, together)
    if alone.ndim == 1:
        limit = EXACT_LOG_ODDS if precision == "float32" else INVARIANT_LOG_ODDS
        return (Figure("max |difference|", difference, limit),)
    if precision == "float32":
        return (Figure("max |difference|", difference, EXACT_VECTORS),)
    return (Figure("cosine", float(cosines(alone, together).min()), INVARIANT_COSINE, at_least=True),)


def greatest_difference(ours: Vectors, theirs: Vectors) -> float:
    """Greatest absolute difference of any two values."""
    return float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max())


def correlation(ours: Vectors, theirs: Vectors) -> float:
    """Pearson's, of two series (n,)."""
    a, b = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (ours, theirs))
    return float(cosines(a[None], b[None])[0])


def _number(value: float, near_one: bool) -> str:
    if near_one and math.isfinite(value):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return plain(value, 2) if math.isfinite(value) else str(value)
