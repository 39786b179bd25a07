"""Selection: which size pays on a user's own texts and machine.

`choose` is the public function. `pipeline` runs its five stages: prepare → estimate → measure → analyse → report.
`run` has the values of each candidate, unit by unit, and `verdict` the answer; both are files.

>>> import upsize
>>> verdict = upsize.choose("titles.csv", ["demo-s", "demo-m"], out="report")  # doctest: +SKIP
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from upsize.errors import MissingExtra
from upsize.selection.run import Run, read_run
from upsize.selection.verdict import (
    CandidateReport,
    Cost,
    Decision,
    Difference,
    InfeasibleCandidate,
    Interval,
    Latency,
    LoadPoint,
    Memory,
    Quantile,
    SampleSize,
    SliceVerdict,
    TaskFacts,
    Verdict,
)

# Names of earlier versions.
Money, Refusal = Cost, InfeasibleCandidate

__all__ = [
    "CandidateReport",
    "Cost",
    "Decision",
    "Difference",
    "InfeasibleCandidate",
    "Interval",
    "Latency",
    "LoadPoint",
    "Memory",
    "Quantile",
    "Run",
    "SampleSize",
    "SliceVerdict",
    "TaskFacts",
    "Verdict",
    "choose",
    "read_run",
    "require_extra",
]


def require_extra() -> None:
    """Raise MissingExtra where scipy, scikit-learn or ir-measures is not installed. Serving needs none of them."""
    for package in ("scipy", "sklearn", "ir_measures"):
        if find_spec(package) is None:
            raise MissingExtra("Choosing a size, or judging a move by labels,", package, "choose")


def choose(
    data: str | Path,
    models: Sequence[str],
    *,
    out: str | Path = "report",
    slo: dict[str, str | float] | None = None,
    progress: bool = True,
    **options: Any,
) -> Verdict:
    """Choose among `models` for the texts in `data`. Writes verdict.json, the runs and index.html to `out`.

    `slo` maps a quantile to a latency limit, such as {"p95": "50ms"} (a number is milliseconds). `options` are fields
    of `settings.ChoiceSettings`: rerankers, depths, dims, precisions, kind, delta, rate, price, seed …

    Raises InvalidInput for data or options that cannot be used, CheckpointError and HubError for models, MissingExtra
    without the extra `choose`.
    """
    require_extra()
    from upsize.selection.pipeline import run_choice
    from upsize.selection.settings import ChoiceSettings, milliseconds

    limits = {q: milliseconds(v) if isinstance(v, str) else float(v) for q, v in (slo or {}).items()}
    several: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items()}
    return run_choice(ChoiceSettings(Path(data), tuple(models), Path(out), slo=limits, **several), progress=progress)
