"""Which size? Candidates, their runs, the statistics, and the verdict.

`verdict` holds the nouns of the answer, `runs` what was measured of each candidate, on disk. The statistics and the
decision are pure functions of arrays.
"""

from upsize.choose.runs import Run, read_run
from upsize.choose.verdict import (
    CandidateReport,
    Decision,
    Difference,
    Interval,
    Latency,
    LoadPoint,
    Memory,
    Money,
    Refusal,
    SampleSize,
    SliceVerdict,
    TaskFacts,
    Verdict,
)

__all__ = [
    "CandidateReport",
    "Decision",
    "Difference",
    "Interval",
    "Latency",
    "LoadPoint",
    "Memory",
    "Money",
    "Refusal",
    "Run",
    "SampleSize",
    "SliceVerdict",
    "TaskFacts",
    "Verdict",
    "read_run",
]
