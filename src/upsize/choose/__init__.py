"""Which size? Candidates, their runs, the statistics, and the verdict.

`verdict` holds the nouns of the answer, `runs` what was measured of each candidate, on disk. The statistics and the
decision are pure functions of arrays; `walk` goes from a user's files to the answer.

The room may be called, for its name is the question:

>>> import upsize
>>> verdict = upsize.choose("titles.csv", ["demo-s", "demo-m"], out="report")  # doctest: +SKIP
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

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
    Quantile,
    Refusal,
    SampleSize,
    SliceVerdict,
    TaskFacts,
    Verdict,
)
from upsize.errors import MissingExtra

__all__ = [
    "CandidateReport",
    "Decision",
    "Difference",
    "Interval",
    "Latency",
    "LoadPoint",
    "Memory",
    "Money",
    "Quantile",
    "Refusal",
    "Run",
    "SampleSize",
    "SliceVerdict",
    "TaskFacts",
    "Verdict",
    "read_run",
    "require_extra",
]


def require_extra() -> None:
    """Raise MissingExtra where what the statistics rest on is not installed: serving and the matrix do without."""
    for package in ("scipy", "sklearn", "ir_measures"):
        if find_spec(package) is None:
            raise MissingExtra("Choosing a size, or judging a move by labels,", package, "choose")


class Room(ModuleType):
    """A module that answers the question it is named after."""

    def __call__(
        self,
        data: str | Path,
        models: Sequence[str],
        *,
        out: str | Path = "report",
        slo: dict[str, str | float] | None = None,
        progress: bool = True,
        **options: Any,
    ) -> Verdict:
        """The verdict on `models` for the texts in `data`; verdict.json and runs are left in `out`.

        `slo` is quantile → latency, such as {"p95": "50ms"} (a number is milliseconds). `options` are the fields of
        `settings.Settings`: rerankers, depths, dims, precisions, kind, delta, rate, price, seed … Raises InvalidInput
        for data or options that cannot be, CheckpointError and HubError for models, MissingExtra without `choose`.
        """
        require_extra()
        from upsize.choose.settings import Settings, milliseconds
        from upsize.choose.walk import choose

        limits = {q: milliseconds(v) if isinstance(v, str) else float(v) for q, v in (slo or {}).items()}
        several: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
        return choose(Settings(Path(data), tuple(models), Path(out), slo=limits, **several), progress=progress)


sys.modules[__name__].__class__ = Room
