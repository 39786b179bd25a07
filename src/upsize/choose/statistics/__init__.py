"""Paired statistics of several candidates on the same units. Pure functions of arrays; every draw comes from a seed.

`influence` turns any metric into one value a unit, `bounds` bounds contrasts of their means (bootstrap-t, for one at a
time or for a family at once; where little was seen, bounds that hold for every distribution), `randomisation` tests
them, `units_needed` plans a sample.
"""

from upsize.choose.statistics.influence import Sample, sample_of
from upsize.choose.statistics.intervals import RESAMPLES, Bounds, bounds, bounds_of_parts, contrasts
from upsize.choose.statistics.randomisation import randomisation
from upsize.choose.statistics.sample_size import FARTHEST, POWER, units_needed, upper_sd

__all__ = [
    "FARTHEST",
    "POWER",
    "RESAMPLES",
    "Bounds",
    "Sample",
    "bounds",
    "bounds_of_parts",
    "contrasts",
    "randomisation",
    "sample_of",
    "units_needed",
    "upper_sd",
]
