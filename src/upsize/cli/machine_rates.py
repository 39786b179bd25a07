"""The machine's rates measured for a command, told while it lasts: it takes a while, and longer on a busy machine."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from upsize.progress import ProgressBar

if TYPE_CHECKING:
    from upsize.compute import Machine
    from upsize.diagnostics import Rates


def measured_rates(machine: Machine, device: str = "auto", precisions: Collection[str] | None = None) -> Rates:
    """What the machine does, with its progress on standard error. `device` is auto, cpu or cuda; `precisions` those to
    measure, by default all."""
    from upsize.diagnostics import measure_rates
    from upsize.diagnostics.rates import PRECISIONS

    with ProgressBar("measuring this machine", unit="figures") as bar:
        bar.say("Measuring what this machine computes and reads: some ten seconds, longer if it is busy.")

        def on_progress(done: int, total: int, figure: str) -> None:
            bar.describe(f"measuring {figure}")
            bar.advance(done, total)

        return measure_rates(machine, device, on_progress=on_progress, precisions=precisions or PRECISIONS)


def noise_note(rates: Rates) -> str | None:
    """What the user must know of rates that something disturbed; None where nothing did."""
    if rates.noise is None:
        return None
    return f"On a busy machine: {rates.noise}. What follows from them is an estimate; run it again when it is quiet."
