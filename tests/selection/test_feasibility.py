"""Which candidates are infeasible by arithmetic, and which are not because noise disturbed the rates."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.checkpoints import EMBEDDER, Layout
from upsize.diagnostics import Rates
from upsize.model import HubOptions
from upsize.selection.candidates import Candidate, candidates_of, open_models
from upsize.selection.feasibility import (
    CLEAR_FACTOR,
    NOISY_FACTOR,
    find_infeasible,
    noisy_estimate_note,
    query_seconds,
)
from upsize.selection.types import MachineCapacity, Workload

RATES = Rates("cpu", {"bfloat16": {1024: 1e9}}, {"bfloat16": {1024: 1e9}}, 1e10)
NOISY = replace(RATES, busy=0.5)
VARIED = replace(RATES, spread=2.0)


@pytest.fixture(scope="module")
def candidate(checkpoint_folder: Callable[[Layout], Path]) -> Candidate:
    models = open_models((str(checkpoint_folder(EMBEDDER)),), "embedding", ("auto",), HubOptions())
    return candidates_of(models, (), (), (20,))[0][0]


def a_workload(rate: float | None = None, slo_ms: float | None = None) -> Workload:
    return Workload(
        query_tokens=20.0, pair_tokens=0.0, longest=64, document_tokens=1000, documents=40, rate=rate, slo_ms=slo_ms,
        slo_quantile="p95",
    )  # fmt: skip


def a_capacity(rates: Rates | None, memory: int = 1 << 40) -> MachineCapacity:
    return MachineCapacity("cpu", memory, rates)


@pytest.mark.parametrize("rates", [RATES, NOISY, VARIED], ids=["quiet", "busy", "varied"])
@pytest.mark.parametrize("limit", ["slo_ms", "rate"])
def test_noisy_rates_exclude_only_what_is_far_beyond_the_limit(candidate: Candidate, rates: Rates, limit: str) -> None:
    """On a quiet machine beyond twice the limit; on a busy one beyond 20 times, with a note between the two."""
    seconds = query_seconds(candidate, a_workload(), rates)

    def beyond(factor: float) -> Workload:
        return a_workload(slo_ms=1e3 * seconds / factor) if limit == "slo_ms" else a_workload(rate=factor / seconds)

    factor = NOISY_FACTOR if rates.noisy else CLEAR_FACTOR
    assert find_infeasible(candidate, beyond(0.99 * factor), a_capacity(rates)) is None
    excluded = find_infeasible(candidate, beyond(1.01 * factor), a_capacity(rates))
    assert excluded is not None
    assert "queries a second" in excluded.reason or "one query alone" in excluded.reason
    assert (noisy_estimate_note(candidate, beyond(1.01 * CLEAR_FACTOR), rates) is not None) == rates.noisy
    assert noisy_estimate_note(candidate, beyond(0.99 * CLEAR_FACTOR), rates) is None


def test_memory_excludes_whatever_the_noise(candidate: Candidate) -> None:
    for rates in (RATES, NOISY, None):
        excluded = find_infeasible(candidate, a_workload(), a_capacity(rates, memory=1000))
        assert excluded is not None
        assert "GB" in excluded.reason


def test_arithmetic_has_plain_numbers(candidate: Candidate) -> None:
    excluded = find_infeasible(candidate, a_workload(slo_ms=1e-5), a_capacity(RATES))
    assert excluded is not None
    text = " ".join((excluded.reason, *excluded.arithmetic))
    assert "0.00001 ms" in text
    assert "e-" not in text
