"""Figures of a verification, their limits, and the status of a check. Pure functions of measured values."""

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
"""`differs`: the values are not the published ones. That is no failure for a fine-tuned or converted checkpoint."""

EXACT_VECTORS = 1e-5
"""Greatest absolute difference of two unit vectors, both computed in float32. Chosen: rounding gives some 1e-7."""
EXACT_LOG_ODDS = 1e-4
COSINE, CENTRED_COSINE = 0.9997, 0.997
"""Least cosines of a half-precision vector with the float32 one. `centred_cosines` says why two are needed."""
INT8_COSINE, INT8_CENTRED_COSINE = 0.99, 0.985
"""The same limits for int8."""
LOG_ODDS = 0.25
"""Greatest difference of log-odds in half precision: bfloat16 rounds each of two logits near 11 to 1/16, and the layers
before add their errors."""
CORRELATION = 0.99
"""Least correlation of half-precision log-odds with float32 ones. Small log-odds that are all wrong pass LOG_ODDS
alone."""
INVARIANT_COSINE = 0.9999
"""Least cosine of a text alone and in a batch, in half precision, where sums may be added in another order."""
INVARIANT_LOG_ODDS = 0.05
"""The same limit for log-odds, as a difference."""


@dataclass(frozen=True)
class Figure:
    """A measured value and its limit."""

    name: str
    value: float
    limit: float
    at_least: bool = False
    """Whether the limit is a lower one; otherwise it is an upper one."""

    @property
    def holds(self) -> bool:
        """Whether the value keeps the limit. NaN never does."""
        return self.value >= self.limit if self.at_least else self.value <= self.limit

    @property
    def value_text(self) -> str:
        """The value as text, with the digits that a comparison with the limit needs."""
        return _number(self.value, self.at_least)

    @property
    def limit_text(self) -> str:
        """The limit with its direction, such as `≤ 1e-05`."""
        return f"{'≥' if self.at_least else '≤'} {_number(self.limit, self.at_least)}"


@dataclass(frozen=True)
class Check:
    """The result of one check."""

    name: str
    status: Status
    figures: tuple[Figure, ...] = field(default=())
    note: str = ""
    seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """As JSON. NaN and infinity become strings, because JSON has no such numbers."""
        plain = asdict(self)
        for shown, figure in zip(plain["figures"], self.figures, strict=True):
            shown["value"] = figure.value if math.isfinite(figure.value) else str(figure.value)
            shown["holds"] = figure.holds
        return plain


def check_figures(name: str, figures: Sequence[Figure], note: str = "", otherwise: Status = "failed") -> Check:
    """A check that passes if every figure keeps its limit, and has the status `otherwise` if not. No figures do not
    pass."""
    good = bool(figures) and all(f.holds for f in figures)
    return Check(name, "passed" if good else otherwise, tuple(figures), note)


def vector_figures(ours: Vectors, theirs: Vectors, precision: str) -> tuple[Figure, ...]:
    """How far two sets of unit vectors (n, dimension) of the same texts are apart, for the worst text."""
    if precision == "float32":
        return (Figure("max |difference|", max_abs_difference(ours, theirs), EXACT_VECTORS),)
    plain, centred = (INT8_COSINE, INT8_CENTRED_COSINE) if precision == "int8" else (COSINE, CENTRED_COSINE)
    return (
        Figure("cosine", float(cosines(ours, theirs).min()), plain, at_least=True),
        Figure("centred cosine", float(centred_cosines(ours, theirs, own_means=False).min()), centred, at_least=True),
    )


def log_odds_figures(ours: Vectors, theirs: Vectors, precision: str) -> tuple[Figure, ...]:
    """How far two sets of log-odds (n,) of the same pairs are apart, for the worst pair."""
    difference = max_abs_difference(ours, theirs)
    if precision == "float32":
        return (Figure("max |difference|", difference, EXACT_LOG_ODDS),)
    return (
        Figure("max |difference|", difference, LOG_ODDS),
        Figure("correlation", correlation(ours, theirs), CORRELATION, at_least=True),
    )


def invariance_figures(alone: Vectors, together: Vectors, precision: str) -> tuple[Figure, ...]:
    """How far the values of texts alone and in batches are apart: vectors (n, dimension) or log-odds (n,)."""
    difference = max_abs_difference(alone, together)
    if alone.ndim == 1:
        limit = EXACT_LOG_ODDS if precision == "float32" else INVARIANT_LOG_ODDS
        return (Figure("max |difference|", difference, limit),)
    if precision == "float32":
        return (Figure("max |difference|", difference, EXACT_VECTORS),)
    return (Figure("cosine", float(cosines(alone, together).min()), INVARIANT_COSINE, at_least=True),)


def max_abs_difference(ours: Vectors, theirs: Vectors) -> float:
    """Greatest absolute difference of two arrays."""
    return float(np.abs(ours.astype(np.float64) - theirs.astype(np.float64)).max())


def correlation(ours: Vectors, theirs: Vectors) -> float:
    """Pearson's correlation of two series (n,)."""
    a, b = (x.astype(np.float64) - x.mean(dtype=np.float64) for x in (ours, theirs))
    return float(cosines(a[None], b[None])[0])


def _number(value: float, near_one: bool) -> str:
    if near_one and math.isfinite(value):
        return f"{value:.6f}".rstrip("0").rstrip(".")
    return plain(value, 2) if math.isfinite(value) else str(value)
