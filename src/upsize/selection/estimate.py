"""Stage 2 of a choice: exclude candidates that cannot fit or cannot keep the latency limit, before any is loaded."""

from __future__ import annotations

from collections.abc import Callable, Collection

from upsize.compute import this_machine
from upsize.diagnostics import measure_rates
from upsize.errors import InvalidInput
from upsize.progress import ProgressBar
from upsize.selection.feasibility import find_infeasible, noisy_estimate_note
from upsize.selection.settings import ChoiceSettings
from upsize.selection.types import EstimatedChoice, MachineCapacity, PreparedChoice
from upsize.selection.verdict import InfeasibleCandidate


def estimate(
    prepared: PreparedChoice, *, progress: bool = False, log: Callable[[str], None] = lambda _: None
) -> EstimatedChoice:
    """Divide the candidates by arithmetic. The machine's rates are measured first, for some ten seconds, where latency
    matters. Raises InvalidInput, with the arithmetic, where no candidate is feasible."""
    precisions = {m.precision for c in prepared.candidates for m in c.models}
    capacity = _capacity(prepared.settings, precisions, progress)
    feasible, infeasible, notes = [], [], []
    for candidate in prepared.candidates:
        excluded = find_infeasible(candidate, prepared.workload, capacity)
        if excluded is not None:
            infeasible.append(excluded)
            continue
        feasible.append(candidate)
        if note := noisy_estimate_note(candidate, prepared.workload, capacity.rates):
            notes.append(f"{candidate.id}: {note}.")
            log(notes[-1])
    if not feasible:
        raise InvalidInput(f"None of the candidates can be used here:\n{_arithmetic(infeasible)}Nothing was loaded.")
    for excluded in infeasible:
        log(f"infeasible: {excluded.id}: {excluded.reason} ({'; '.join(excluded.arithmetic)})")
    return EstimatedChoice(capacity, tuple(feasible), tuple(infeasible), tuple(notes))


def _capacity(settings: ChoiceSettings, precisions: Collection[str], progress: bool) -> MachineCapacity:
    machine = this_machine()
    device = "cuda" if machine.gpus and settings.device in ("auto", "cuda") else "cpu"
    memory = machine.available if device == "cpu" else machine.gpus[0].memory
    if not settings.speed:
        return MachineCapacity(device, memory, None)
    with ProgressBar("rates of this machine", unit="figures", show=progress) as bar:
        rates = measure_rates(
            machine, on_progress=lambda done, total, _: bar.advance(done, total), precisions=precisions
        )
    return MachineCapacity(device, memory, rates)


def _arithmetic(infeasible: list[InfeasibleCandidate]) -> str:
    return "".join(
        f"  {excluded.id}: {excluded.reason}\n" + "".join(f"    {line}\n" for line in excluded.arithmetic)
        for excluded in infeasible
    )
