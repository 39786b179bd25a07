"""What a candidate would take here, before anything is loaded; and why it is refused, with the sum shown. Pure.

Memory is arithmetic. Time is a pass's floating-point operations over what this machine was just measured to do: good to
some tens per cent, so only what is beyond the limit by a factor of SURE is refused. Where something disturbed that
measurement the factor is UNSURE, and what lies between the two is measured itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from upsize.compute import work_bytes
from upsize.diagnostics import Rates
from upsize.number_format import plain, short
from upsize.selection.candidates import Candidate, CandidateModel
from upsize.selection.verdict import InfeasibleCandidate

CLEAR_FACTOR = 2.0
NOISY_FACTOR = 20.0
"""Where other processes disturbed the rates: they were seen to make an estimate 16 times too high."""


@dataclass(frozen=True)
class Workload:
    """What the data and the user ask of a candidate."""

    query_tokens: float
    """Mean, with instruction and end token."""
    pair_tokens: float
    """Mean, of a reranked pair with its template; 0 where nothing is reranked."""
    longest: int
    """Tokens of the longest text."""
    document_tokens: int
    documents: int
    rate: float | None
    slo_ms: float | None
    """Limit of the `slo_quantile` latency."""
    slo_quantile: str
    device: str
    memory: int
    """Bytes free on the device."""


def estimated_memory(model: CandidateModel, load: Workload) -> int:
    """Bytes of its weights and of its work."""
    longest = min(load.longest, model.checkpoint.context)
    return model.weight_bytes + work_bytes(model.checkpoint.config, max(longest, 512), load.device)


def query_seconds(candidate: Candidate, load: Workload, rates: Rates) -> float:
    """Of one query alone, reranking included."""
    query = candidate.model.flops_a_token * load.query_tokens / _of_query(candidate.model, rates)
    pairs = 0.0
    if candidate.reranker and candidate.depth:
        flops = candidate.reranker.flops_a_token * load.pair_tokens * candidate.depth
        pairs = flops / _of_batch(candidate.reranker, rates)
    return query + pairs


def embedding_seconds(model: CandidateModel, tokens: float, rates: Rates) -> float:
    """Of so many tokens, in full batches."""
    return model.flops_a_token * tokens / _of_batch(model, rates)


def scoring_seconds(reranker: CandidateModel, pairs: int, load: Workload, rates: Rates) -> float:
    """Of so many pairs of mean length, in full batches."""
    return reranker.flops_a_token * load.pair_tokens * pairs / _of_batch(reranker, rates)


def find_infeasible(candidate: Candidate, load: Workload, rates: Rates | None) -> InfeasibleCandidate | None:
    """Why it cannot be used here, or None. Without `rates` for its memory alone."""
    slow = () if rates is None else _time(candidate, load, rates, NOISY_FACTOR if rates.noisy else CLEAR_FACTOR)
    for reason, lines in (*_memory(candidate, load), *slow):
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


def noisy_estimate_note(candidate: Candidate, load: Workload, rates: Rates | None) -> str | None:
    """What would refuse it for its time if the rates were not noisy, with what makes them so; None where nothing
    would."""
    if rates is None or rates.noise is None:
        return None
    reason = next((reason for reason, _ in _time(candidate, load, rates, CLEAR_FACTOR)), None)
    return None if reason is None else f"by an estimate {reason}, but {rates.noise}: it is measured instead"


def _memory(candidate: Candidate, load: Workload) -> Iterator[tuple[str, list[str]]]:
    parts = [candidate.model, *([candidate.reranker] if candidate.reranker else [])]
    need, lines = 0, []
    for model in parts:
        work = estimated_memory(model, load) - model.weight_bytes
        need += model.weight_bytes + work
        lines.append(
            f"{model.name}: {model.checkpoint.weights.parameters:,} parameters in {model.precision} = "
            f"{model.weight_bytes / 1e9:.2f} GB, and {work / 1e9:.2f} GB of work for a text of {load.longest:,} tokens"
        )
    vectors = load.documents * candidate.bytes_a_vector
    if load.device == "cpu":
        need += vectors
        lines.append(f"vectors: {load.documents:,} × {candidate.bytes_a_vector:,} bytes = {vectors / 1e9:.2f} GB")
    lines.append(f"sum: {need / 1e9:.2f} GB; free on {load.device}: {load.memory / 1e9:.2f} GB")
    if need > load.memory:
        yield f"needs {need / 1e9:.1f} GB, and {load.memory / 1e9:.1f} GB are free", lines


def _time(candidate: Candidate, load: Workload, rates: Rates, sure: float) -> Iterator[tuple[str, list[str]]]:
    seconds = query_seconds(candidate, load, rates)
    lines = [
        f"one query: {plain(candidate.model.flops_a_token / 1e9)} GFLOP a token × {load.query_tokens:.0f} tokens / "
        f"({_of_query(candidate.model, rates) / 1e9:,.0f} GFLOP/s)"
    ]
    if candidate.reranker:
        lines.append(
            f"reranking: {candidate.depth} × {plain(candidate.reranker.flops_a_token / 1e9)} GFLOP a token × "
            f"{load.pair_tokens:.0f} tokens / ({_of_batch(candidate.reranker, rates) / 1e9:,.0f} GFLOP/s)"
        )
    lines.append(f"sum: about {plain(seconds * 1e3)} ms a query with nothing else to do")
    if load.slo_ms is not None and seconds * 1e3 > sure * load.slo_ms:
        lines.append(f"limit: {load.slo_quantile} of {short(load.slo_ms)} ms; refused beyond {short(sure)} times that")
        yield f"one query alone takes about {plain(seconds * 1e3)} ms, and the limit is {short(load.slo_ms)} ms", lines
    elif load.rate is not None and seconds * load.rate > sure:
        lines.append(
            f"busy: {short(load.rate)} a second × {plain(seconds)} s = {plain(seconds * load.rate, 2)} machines"
        )
        yield (
            f"{short(load.rate)} queries a second would keep {plain(seconds * load.rate, 2)} such machines busy",
            lines,
        )


def _of_query(model: CandidateModel, rates: Rates) -> float:
    return rates.query_rate(model.precision, model.checkpoint.config.hidden_size)


def _of_batch(model: CandidateModel, rates: Rates) -> float:
    return rates.batch_rate(model.precision, model.checkpoint.config.hidden_size)
