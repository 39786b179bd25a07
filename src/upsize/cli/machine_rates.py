"""Measures the machine's rates for a command, and shows progress meanwhile."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from upsize.progress import ProgressBar

if TYPE_CHECKING:
    from upsize.compute import Machine
    from upsize.diagnostics import Rates


def measured_rates(machine: Machine, device: str = "auto", precisions: Collection[str] | None = None) -> Rates:
    """Measure the machine's rates, with progress on standard error.

    `device` is auto, cpu or cuda; `precisions` are those to measure, by default all.
    """
    from upsize.diagnostics import measure_rates
    from upsize.diagnostics.rates import PRECISIONS

    with ProgressBar("measuring this machine", unit="figures") as bar:
        bar.say("Measuring the speed of this machine: about 10 seconds, longer if it is busy.")

        def on_progress(done: int, total: int, figure: str) -> None:
            bar.describe(f"measuring {figure}")
            bar.advance(done, total)

        return measure_rates(machine, device, on_progress=on_progress, precisions=precisions or PRECISIONS)


def noise_note(rates: Rates) -> str | None:
    """Return a note on rates that other work disturbed; None for undisturbed rates."""
    if rates.noise is None:
        return None
    return f"On a busy machine: {rates.noise}. Estimates from these rates are rough; measure again on an idle machine."
