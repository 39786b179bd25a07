"""Paired statistics of several candidates on the same units. Pure functions of arrays; every draw comes from a seed.

`influence` turns any metric into one value a unit. `bounds` bounds contrasts of their means, all at once (bootstrap-t;
where little was seen, bounds that hold for every distribution), `quality_bounds` each mean alone. `randomisation` tests
contrasts, `units_needed` plans a sample.
"""

from upsize.evaluation.statistics.bootstrap import RESAMPLES, Bounds, bounds, bounds_of_parts, contrasts
from upsize.evaluation.statistics.quality_bounds import QualityBounds, quality_bounds
from upsize.evaluation.statistics.randomisation import randomisation
from upsize.evaluation.statistics.sample import FEWEST, FEWEST_EFFECTIVE, Sample, sample_of
from upsize.evaluation.statistics.sample_size import FARTHEST, POWER, units_needed, upper_sd

__all__ = [
    "FARTHEST",
    "FEWEST",
    "FEWEST_EFFECTIVE",
    "POWER",
    "RESAMPLES",
    "Bounds",
    "QualityBounds",
    "Sample",
    "bounds",
    "bounds_of_parts",
    "contrasts",
    "quality_bounds",
    "randomisation",
    "sample_of",
    "units_needed",
    "upper_sd",
]
