"""Estimated memory, throughput and latency of each size, from the measured rates of a machine. Pure functions."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

from upsize.catalog import FAMILY, FamilyMember
from upsize.compute import work_bytes
from upsize.compute.plan import bytes_of_weights
from upsize.diagnostics.random_models import config_of
from upsize.diagnostics.rates import QUERY, Rates
from upsize.model.flops import pass_flops

LENGTHS = (8192, 32768)
"""Tokens of the longest text: the length that the vendor evaluates with, and the length that the models accept."""

Fits = Literal["yes", "if memory is freed", "no"]


@dataclass(frozen=True)
class SizeEstimate:
    """One size in one precision. Bytes are exact arithmetic; rates are estimates."""

    size: str
    precision: str
    weight_bytes: int
    work_bytes: dict[int, int]
    """Tokens of the longest text → bytes of activations and caches (`compute.work_bytes`)."""
    fits: dict[int, Fits]
    tokens_per_second: float
    query_ms: float
    """Latency in ms of a single query of 27 tokens."""

    def to_json(self) -> dict[str, Any]:
        """As JSON, with the names of the estimated fields."""
        return asdict(self) | {"estimated": ["tokens_per_second", "query_ms"]}


def estimate_sizes(
    rates: Rates, memory: int, available: int, family: Sequence[FamilyMember] = FAMILY
) -> list[SizeEstimate]:
    """An estimate of each embedder of the family in each measured precision.

    The device has `memory` bytes, of which `available` are free.
    """
    return [
        _estimate(member, precision, rates, memory, available)
        for member in family
        if member.kind == "embedding"
        for precision in rates.batch
    ]


def _estimate(member: FamilyMember, precision: str, rates: Rates, memory: int, available: int) -> SizeEstimate:
    weights, config = member_weight_bytes(member, precision), config_of(member)
    work = {n: work_bytes(config, n, rates.device) for n in LENGTHS}
    return SizeEstimate(
        size=member.size,
        precision=precision,
        weight_bytes=weights,
        work_bytes=work,
        fits={n: fits(weights + w, memory, available) for n, w in work.items()},
        tokens_per_second=rates.batch_rate(precision, config.hidden_size) / pass_flops(config, 1),
        query_ms=1e3 * pass_flops(config, QUERY) / rates.query_rate(precision, config.hidden_size),
    )


def member_weight_bytes(member: FamilyMember, precision: str) -> int:
    """Bytes of a published checkpoint's weights, which are stored in bfloat16, in a precision."""
    embedding = member.parameters - member.non_embedding_parameters
    return bytes_of_weights(member.parameters, embedding, precision, embedding_itemsize=2)


def fits(need: int, memory: int, available: int) -> Fits:
    """Whether `need` bytes fit into the free bytes, or at least into the memory."""
    if need <= available:
        return "yes"
    return "if memory is freed" if need <= memory else "no"
