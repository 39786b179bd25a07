"""What is refused before it is loaded, by the sum; and what is not, for the sum rests on rates that were disturbed."""

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
    Workload,
    find_infeasible,
    noisy_estimate_note,
    query_seconds,
)

RATES = Rates("cpu", {"bfloat16": {1024: 1e9}}, {"bfloat16": {1024: 1e9}}, 1e10)
NOISY = replace(RATES, busy=0.5)
VARIED = replace(RATES, spread=2.0)


@pytest.fixture(scope="module")
def candidate(checkpoint_folder: Callable[[Layout], Path]) -> Candidate:
    models = open_models((str(checkpoint_folder(EMBEDDER)),), "embedding", ("auto",), HubOptions())
    return candidates_of(models, (), (), (20,))[0][0]


def a_load(**limits: float | None) -> Workload:
    told: dict[str, float | None] = {"rate": None, "slo_ms": None, **limits}
    return Workload(
        query_tokens=20.0, pair_tokens=0.0, longest=64, document_tokens=1000, documents=40, slo_quantile="p95",
        device="cpu", memory=1 << 40, **told,
    )  # type: ignore[arg-type]  # fmt: skip


@pytest.mark.parametrize("rates", [RATES, NOISY, VARIED], ids=["quiet", "busy", "varied"])
@pytest.mark.parametrize("limit", ["slo_ms", "rate"])
def test_a_noisy_estimate_refuses_only_what_is_hopeless(candidate: Candidate, rates: Rates, limit: str) -> None:
    """On a quiet machine beyond twice the limit; on a busy one beyond twenty times, and between the two it says so."""
    seconds = query_seconds(candidate, a_load(), rates)

    def over(factor: float) -> Workload:
        return a_load(slo_ms=1e3 * seconds / factor) if limit == "slo_ms" else a_load(rate=factor / seconds)

    sure = NOISY_FACTOR if rates.noisy else CLEAR_FACTOR
    assert find_infeasible(candidate, over(0.99 * sure), rates) is None
    refused = find_infeasible(candidate, over(1.01 * sure), rates)
    assert refused is not None
    assert "queries a second" in refused.reason or "one query alone" in refused.reason
    assert (noisy_estimate_note(candidate, over(1.01 * CLEAR_FACTOR), rates) is not None) == rates.noisy
    assert noisy_estimate_note(candidate, over(0.99 * CLEAR_FACTOR), rates) is None


def test_memory_is_refused_by_arithmetic_whatever_the_noise(candidate: Candidate) -> None:
    for rates in (RATES, NOISY, None):
        refused = find_infeasible(candidate, replace(a_load(), memory=1000), rates)
        assert refused is not None
        assert "GB" in refused.reason


def test_sums_have_plain_numbers(candidate: Candidate) -> None:
    refused = find_infeasible(candidate, a_load(slo_ms=1e-5), RATES)
    assert refused is not None
    told = " ".join((refused.reason, *refused.arithmetic))
    assert "0.00001 ms" in told
    assert "e-" not in told
