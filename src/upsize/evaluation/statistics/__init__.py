"""Paired statistics of several candidates on the same units. Pure functions of arrays; all randomness comes from a
seed.

`sample_of` turns any metric into one value for each unit. `bounds` gives simultaneous bounds of contrasts of the means:
the bootstrap-t, or distribution-free bounds where the sample shows little. `quality_bounds` bounds each mean alone.
`randomisation` tests contrasts. `units_needed` plans the size of a sample.
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
