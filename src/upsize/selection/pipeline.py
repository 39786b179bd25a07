"""A choice in five stages: prepare → estimate → measure → analyse → report. `types` has what they hand on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from upsize.errors import InvalidInput
from upsize.selection.analyse import analyse
from upsize.selection.conditions import conditions
from upsize.selection.estimate import estimate
from upsize.selection.measure import measure
from upsize.selection.prepare import prepare
from upsize.selection.report import report_verdict
from upsize.selection.settings import ChoiceSettings
from upsize.selection.verdict import Verdict


def run_choice(
    settings: ChoiceSettings, *, progress: bool = False, log: Callable[[str], None] = lambda _: None
) -> Verdict:
    """Answer one question, and write verdict.json, the runs and index.html to `settings.out`.

    A run that was stopped resumes from what it left in that folder. `log` receives lines for the user: how the data was
    read, which candidates are infeasible, what remains to be measured. `progress` shows progress bars.

    Raises InvalidInput for data or settings that no comparison is possible with, CheckpointError and HubError for
    models.
    """
    prepared = prepare(settings, progress=progress, log=log)
    with _exclusive(settings.out):
        estimated = estimate(prepared, progress=progress, log=log)
        measured = measure(prepared, estimated, progress=progress, log=log)
        verdict = analyse(prepared, estimated, measured, **conditions())
        report_verdict(verdict, settings.out)
    return verdict


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Hold the folder's lock; InvalidInput where another run holds it."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = FileLock(folder / "lock", timeout=0)
    try:
        lock.acquire()
    except Timeout:
        raise InvalidInput(f"{folder}: another run writes to it (it holds {folder / 'lock'}).") from None
    try:
        yield
    finally:
        lock.release()
