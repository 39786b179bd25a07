"""Randomisation test of paired differences (Fisher 1935; for retrieval, Smucker, Allan and Carterette 2007).

If two candidates are equally good, the two values of a unit are exchangeable, so the test flips the signs of
differences at random. All contrasts share the flips, so the greatest statistic gives p for the family (Westfall and
Young 1993). The observed signs count as one of the draws: p is (b + 1) / (B + 1) and never 0 (Phipson and Smyth 2010).
"""

from __future__ import annotations

import numpy as np

from upsize.evaluation.statistics.bootstrap import RESAMPLES, blocks
from upsize.evaluation.statistics.sample import Floats, Sample


def randomisation(sample: Sample, matrix: Floats, *, seed: int, resamples: int = RESAMPLES) -> tuple[Floats, Floats]:
    """Two-sided p values (contrasts,) of each contrast alone, and adjusted for the family."""
    values = sample.values @ matrix.T
    scale = np.sqrt((values**2).sum(axis=0))
    scale[scale <= 1e-12] = 1.0
    values = values / scale
    observed = np.abs(values.sum(axis=0)) - 1e-12
    rng = np.random.default_rng([seed, len(values), 1])
    alone, family = np.ones_like(observed), np.ones_like(observed)
    for draws in blocks(resamples, len(values)):
        signs = rng.integers(0, 2, (draws, len(values))) * 2.0 - 1.0
        drawn = np.abs(signs @ values)
        alone += (drawn >= observed).sum(axis=0)
        family += (drawn.max(axis=1, keepdims=True, initial=0.0) >= observed).sum(axis=0)
    return alone / (resamples + 1), family / (resamples + 1)
