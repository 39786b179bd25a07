"""Randomisation test of paired differences (Fisher 1935; for retrieval, Smucker, Allan and Carterette 2007).

If two candidates are alike, which of the two values of a unit is whose is a coin's matter: signs of the differences are
flipped at random. The same flips serve all contrasts, so the greatest of them gives p for the family (Westfall and
Young 1993). The draw that was observed counts as one of them: p is (b + 1) / (B + 1), never 0 (Phipson and Smyth 2010).
"""

from __future__ import annotations

import numpy as np

from upsize.evaluation.statistics.bootstrap import RESAMPLES, _blocks
from upsize.evaluation.statistics.sample import Floats, Sample


def randomisation(sample: Sample, matrix: Floats, *, seed: int, resamples: int = RESAMPLES) -> tuple[Floats, Floats]:
    """Two-sided p of each contrast (contrasts,), alone and for the family at once."""
    values = sample.values @ matrix.T
    scale = np.sqrt((values**2).sum(axis=0))
    scale[scale <= 1e-12] = 1.0
    values = values / scale
    observed = np.abs(values.sum(axis=0)) - 1e-12
    rng = np.random.default_rng([seed, len(values), 1])
    alone, family = np.ones_like(observed), np.ones_like(observed)
    for draws in _blocks(resamples, len(values)):
        signs = rng.integers(0, 2, (draws, len(values))) * 2.0 - 1.0
        drawn = np.abs(signs @ values)
        alone += (drawn >= observed).sum(axis=0)
        family += (drawn.max(axis=1, keepdims=True, initial=0.0) >= observed).sum(axis=0)
    return alone / (resamples + 1), family / (resamples + 1)
