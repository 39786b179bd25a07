"""Verifies a checkpoint: runs all checks in order."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from upsize.compute import LoadedModel
from upsize.diagnostics import invariants
from upsize.diagnostics.check import Check
from upsize.diagnostics.environment import installed
from upsize.diagnostics.parity import parity
from upsize.diagnostics.published_outputs import published
from upsize.errors import UpsizeError

BATCHES = 20
"""Random batches of the batch-invariance check. Chosen: some seconds for a small model."""

Step = tuple[str, Callable[[], list[Check]]]


@dataclass(frozen=True)
class Verification:
    """The verified checkpoint and the results of all checks."""

    folder: str
    kind: str
    published: str | None
    """Name of the published checkpoint of this shape, or None."""
    device: str
    precision: str
    fingerprint: str
    torch: str | None
    """Version, or None where torch is not installed."""
    checks: tuple[Check, ...]

    @property
    def ok(self) -> bool:
        """Whether no check failed."""
        return not any(c.status == "failed" for c in self.checks)

    def count(self, status: str) -> int:
        """The number of checks with a status."""
        return sum(c.status == status for c in self.checks)

    def to_json(self) -> dict[str, Any]:
        """As JSON."""
        return asdict(self) | {"ok": self.ok, "checks": [c.to_json() for c in self.checks]}


def steps(model: LoadedModel, *, batches: int = BATCHES, strict: bool = False) -> list[Step]:
    """The checks of this model: (name, function). The cheap ones come first."""
    checkpoint = model.checkpoint
    member = checkpoint.member.name if checkpoint.member else None
    own: list[Step] = [("prompts", lambda: [invariants.prompts(checkpoint)])]
    if checkpoint.kind == "embedding":
        own.append(("end token", lambda: [invariants.end_token(model)]))
        own.append(("dimensions", lambda: [invariants.dimensions(model)]))
    else:
        own.append(("template", lambda: [invariants.template(model)]))
    return [
        *own,
        ("published values", lambda: published(model, member, strict=strict)),
        ("finite values", lambda: [invariants.finite(model)]),
        ("batch invariance", lambda: [invariants.batch_invariance(model, batches)]),
        ("transformers", lambda: parity(model)),
    ]


def verify(
    model: LoadedModel,
    *,
    batches: int = BATCHES,
    strict: bool = False,
    on_check: Callable[[str], None] = lambda _: None,
) -> Verification:
    """Run all checks. `on_check` is called with the name of each before it runs. An UpsizeError is a failed check."""
    checks: list[Check] = []
    for name, run in steps(model, batches=batches, strict=strict):
        on_check(name)
        checks += guarded(name, run)
    return Verification(
        folder=str(model.checkpoint.folder),
        kind=model.checkpoint.kind,
        published=model.checkpoint.member.name if model.checkpoint.member else None,
        device=model.plan.device,
        precision=model.plan.precision,
        fingerprint=model.fingerprint.id,
        torch=installed("torch"),
        checks=tuple(checks),
    )


def guarded(name: str, run: Callable[[], Sequence[Check]]) -> list[Check]:
    """The results of one function, with their seconds. An UpsizeError is a failed check with its message as the
    note."""
    started = time.monotonic()
    try:
        checks = list(run())
    except UpsizeError as error:
        checks = [Check(name, "failed", note=str(error))]
    seconds = (time.monotonic() - started) / max(len(checks), 1)
    return [replace(c, seconds=seconds) for c in checks]
