"""Arithmetic on a candidate that is not loaded: memory, seconds, and whether it is infeasible here. Pure.

Memory is exact arithmetic. Time is the floating-point operations of a forward pass divided by the rate that this
machine was just measured at. That is good to some tens of per cent, so a candidate is infeasible only beyond
CLEAR_FACTOR times the limit. Where other processes disturbed the rates the factor is NOISY_FACTOR; candidates between
the two factors are measured.
"""

from __future__ import annotations

from collections.abc import Iterator

from upsize.compute import work_bytes
from upsize.diagnostics import Rates
from upsize.number_format import plain, short
from upsize.selection.candidates import Candidate, CandidateModel
from upsize.selection.types import MachineCapacity, Workload
from upsize.selection.verdict import InfeasibleCandidate

CLEAR_FACTOR = 2.0
"""Chosen: estimates on a quiet machine are off by some tens of per cent, so twice the limit is beyond doubt."""
NOISY_FACTOR = 20.0
"""Chosen above 16, the largest error that was seen in an estimate while other processes disturbed the rates."""
SHORTEST_TEXT = 512
"""Tokens that working memory is reserved for at least, however short the texts are: queries are batched."""


def estimated_memory(model: CandidateModel, workload: Workload, device: str) -> int:
    """Bytes of the model's weights and of its working memory for the longest text."""
    longest = min(workload.longest, model.checkpoint.context)
    return model.weight_bytes + work_bytes(model.checkpoint.config, max(longest, SHORTEST_TEXT), device)


def query_seconds(candidate: Candidate, workload: Workload, rates: Rates) -> float:
    """Seconds of one query alone, reranking included."""
    query = candidate.model.flops_per_token * workload.query_tokens / _query_rate(candidate.model, rates)
    pairs = 0.0
    if candidate.reranker and candidate.depth:
        flops = candidate.reranker.flops_per_token * workload.pair_tokens * candidate.depth
        pairs = flops / _batch_rate(candidate.reranker, rates)
    return query + pairs


def embedding_seconds(model: CandidateModel, tokens: float, rates: Rates) -> float:
    """Seconds to embed `tokens` tokens in full batches."""
    return model.flops_per_token * tokens / _batch_rate(model, rates)


def scoring_seconds(reranker: CandidateModel, pairs: int, pair_tokens: float, rates: Rates) -> float:
    """Seconds to score `pairs` pairs of `pair_tokens` tokens on average, in full batches."""
    return reranker.flops_per_token * pair_tokens * pairs / _batch_rate(reranker, rates)


def find_infeasible(candidate: Candidate, workload: Workload, capacity: MachineCapacity) -> InfeasibleCandidate | None:
    """Why the candidate cannot be used here, with the arithmetic; None where nothing rules it out. Without rates in
    `capacity` memory alone is checked."""
    rates = capacity.rates
    too_slow = () if rates is None else _time(candidate, workload, rates, NOISY_FACTOR if rates.noisy else CLEAR_FACTOR)
    for reason, lines in (*_memory(candidate, workload, capacity), *too_slow):
        return InfeasibleCandidate(
            id=candidate.id,
            model=candidate.model.name,
            dimension=candidate.dimension,
            precision=candidate.model.precision,
            reranker=candidate.reranker.name if candidate.reranker else None,
            depth=candidate.depth,
            reason=reason,
            arithmetic=tuple(lines),
        )
    return None


def noisy_estimate_note(candidate: Candidate, workload: Workload, rates: Rates | None) -> str | None:
    """That only noise in the rates keeps the candidate from being infeasible, and what made the noise; else None."""
    if rates is None or rates.noise is None:
        return None
    reason = next((reason for reason, _ in _time(candidate, workload, rates, CLEAR_FACTOR)), None)
    return None if reason is None else f"by an estimate {reason}, but {rates.noise}: it is measured instead"


def _memory(candidate: Candidate, workload: Workload, capacity: MachineCapacity) -> Iterator[tuple[str, list[str]]]:
    needed, lines = 0, []
    for model in candidate.models:
        work = estimated_memory(model, workload, capacity.device) - model.weight_bytes
        needed += model.weight_bytes + work
        lines.append(
            f"{model.name}: {model.checkpoint.weights.parameters:,} parameters in {model.precision} = "
            f"{model.weight_bytes / 1e9:.2f} GB, and {work / 1e9:.2f} GB of working memory for a text of "
            f"{workload.longest:,} tokens"
        )
    vectors = workload.documents * candidate.bytes_per_vector
    if capacity.device == "cpu":
        needed += vectors
        lines.append(f"vectors: {workload.documents:,} × {candidate.bytes_per_vector:,} bytes = {vectors / 1e9:.2f} GB")
    lines.append(f"sum: {needed / 1e9:.2f} GB; free on {capacity.device}: {capacity.memory / 1e9:.2f} GB")
    if needed > capacity.memory:
        yield f"needs {needed / 1e9:.1f} GB, and {capacity.memory / 1e9:.1f} GB are free", lines


def _time(candidate: Candidate, workload: Workload, rates: Rates, factor: float) -> Iterator[tuple[str, list[str]]]:
    seconds = query_seconds(candidate, workload, rates)
    lines = [
        f"one query: {plain(candidate.model.flops_per_token / 1e9)} GFLOP a token × {workload.query_tokens:.0f} tokens "
        f"/ ({_query_rate(candidate.model, rates) / 1e9:,.0f} GFLOP/s)"
    ]
    if candidate.reranker:
        lines.append(
            f"reranking: {candidate.depth} × {plain(candidate.reranker.flops_per_token / 1e9)} GFLOP a token × "
            f"{workload.pair_tokens:.0f} tokens / ({_batch_rate(candidate.reranker, rates) / 1e9:,.0f} GFLOP/s)"
        )
    lines.append(f"sum: about {plain(seconds * 1e3)} ms a query on an idle machine")
    rate, limit = workload.rate, workload.slo_ms
    if limit is not None and seconds * 1e3 > factor * limit:
        lines.append(f"limit: {workload.slo_quantile} of {short(limit)} ms; infeasible beyond {short(factor)} times it")
        yield f"one query alone takes about {plain(seconds * 1e3)} ms, and the limit is {short(limit)} ms", lines
    elif rate is not None and seconds * rate > factor:
        machines = plain(seconds * rate, 2)
        lines.append(f"busy: {short(rate)} a second × {plain(seconds)} s = {machines} machines")
        yield f"{short(rate)} queries a second would keep {machines} such machines busy", lines


def _query_rate(model: CandidateModel, rates: Rates) -> float:
    return rates.query_rate(model.precision, model.checkpoint.config.hidden_size)


def _batch_rate(model: CandidateModel, rates: Rates) -> float:
    return rates.batch_rate(model.precision, model.checkpoint.config.hidden_size)
