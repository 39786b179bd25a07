"""The number of units that would settle a comparison.

A bound lies `critical` standard errors from its estimate. The conditional power (Lan and Wittes 1988) is the
probability that the bound ends up on its side of the margin, given the units at hand and more to come. The plan assumes
true differences at a given distance from the margin on either side, each weighted by its likelihood given the
observations. It does not assume the observed difference, which is too noisy to plan with (Hoenig and Heisey 2001). So
the plan holds for every true difference that is not nearer to the margin. It conditions on the units at hand because
only undecided comparisons ask: a plan that ignored them would leave the comparison undecided again far too often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

POWER = 0.8
"""Probability that a sample of the planned size settles the comparison. Chosen: the usual value."""
FARTHEST = 10**9
"""Additional units at most. Beyond it no number is given."""
_MORE = np.unique(np.geomspace(1, FARTHEST, 2000).astype(np.int64))
"""Candidate numbers of additional units, 1 % apart: accurate enough for a plan."""


def upper_sd(sd: float, units: int, confidence: float = 0.8) -> float:
    """Upper confidence limit of a standard deviation that was estimated from `units` values.

    The estimate of a pilot is too small half the time, and so is a sample that is planned with it (Browne 1995).
    """
    freedom = max(units - 1, 1)
    return float(sd * math.sqrt(freedom / special.chdtri(freedom, confidence)))


def units_needed(
    units: int,
    beyond: float,
    sd: float,
    truths: Sequence[float],
    critical: float,
    *,
    comparisons: int = 1,
    power: float = POWER,
    error_seeds: float = 0.0,
    allowance: float = 0.0,
) -> int | None:
    """Total number of independent units with which all `comparisons` clear their margins with probability `power`.

    The sample at hand has `units` units with a mean `beyond` the margin (negative: short of it) and standard deviation
    `sd`. `truths` are the true means beyond the margin to plan for; the right side for each is its own. `error_seeds`
    is the standard error that more units do not reduce. `allowance` is the extra distance of the bound where the sample
    shows little; it shrinks with more units. None where no number of units is enough.
    """
    if sd == 0 or 0 in truths:
        return None
    error = math.hypot(sd / math.sqrt(units), error_seeds)
    likely = [-(((beyond - truth) / error) ** 2) / 2 for truth in truths]
    weights = special.softmax(likely)

    total = units + _MORE
    half = critical * np.hypot(sd / np.sqrt(total), error_seeds) + allowance * units / total
    spread = np.hypot(sd * np.sqrt(_MORE) / total, error_seeds)
    chance = sum(
        weight * special.ndtr((abs(truth) / truth * (units * beyond + _MORE * truth) / total - half) / spread)
        for weight, truth in zip(weights, truths, strict=True)
    )
    enough = chance >= 1 - (1 - power) / comparisons
    return int(total[np.argmax(enough)]) if enough.any() else None
