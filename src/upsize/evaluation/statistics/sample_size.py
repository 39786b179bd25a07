"""How many units would settle a comparison.

A bound lies `critical` standard errors from its estimate. With the units at hand and more to come, the chance that it
ends on its side of the margin is the conditional power (Lan and Wittes 1988). It is planned for true differences that
are `distance` from the margin on either side, each weighted by how well it explains what was observed: not for the one
observed, for a difference that is not surely anywhere is too noisy to plan with (Hoenig and Heisey 2001). So the plan
holds whatever the truth is, unless that is nearer to the margin, and it knows that only the undecided ask: a sample
planned as if from nothing, and begun with units that left it undecided, comes out undecided again far too often.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import special

POWER = 0.8
FARTHEST = 10**9
"""Units more that are looked for."""
_MORE = np.unique(np.geomspace(1, FARTHEST, 2000).astype(np.int64))
"""Units more that are looked at, 1 % apart: it is a plan."""


def upper_sd(sd: float, units: int, confidence: float = 0.8) -> float:
    """Upper confidence limit of a standard deviation from `units` values: a pilot's own is too small half the time, and
    the sample planned with it too (Browne 1995)."""
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
    """Independent units in all, at which each of `comparisons` clears its margin so often that all do with `power`.

    Observed so far: `units` with a mean `beyond` the margin (negative: short of it). `truths` are the true means beyond
    the margin to plan for; for each, its own side is the right one. `error_seeds` is the standard error that more units
    do not lessen, `allowance` how much farther the bound lies for what was not seen, which lessens with each unit. None
    where no number of units does.
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
