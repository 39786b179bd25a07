"""The published checkpoints of the family: shapes, context and cost (docs/sources.md §1), proved from their tensors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["embedding", "reranker"]

FLOPS_PER_MAC = 2
"""A multiply-accumulate is one multiplication and one addition; every weight takes part in one for each token."""


@dataclass(frozen=True)
class FamilyMember:
    """One published checkpoint."""

    hub_id: str
    kind: Kind
    hidden_size: int
    layers: int
    heads: int
    intermediate_size: int
    parameters: int
    non_embedding_parameters: int
    context: int

    @property
    def name(self) -> str:
        """The name without its organisation, e.g. `Qwen3-Embedding-0.6B`."""
        return self.hub_id.split("/")[-1]

    @property
    def size(self) -> str:
        """`0.6B`, `4B` or `8B`."""
        return self.name.split("-")[-1]

    @property
    def flops_per_token(self) -> int:
        """Floating-point operations of the GEMMs of one token. Attention, which grows with length, is not counted."""
        return FLOPS_PER_MAC * self.non_embedding_parameters


_06B, _4B, _8B = (1024, 28, 16, 3072), (2560, 36, 32, 9728), (4096, 36, 32, 12288)

FAMILY: tuple[FamilyMember, ...] = (
    FamilyMember("Qwen/Qwen3-Embedding-0.6B", "embedding", *_06B, 595_776_512, 440_467_456, 32768),
    FamilyMember("Qwen/Qwen3-Embedding-4B", "embedding", *_4B, 4_021_774_336, 3_633_511_936, 40960),
    FamilyMember("Qwen/Qwen3-Embedding-8B", "embedding", *_8B, 7_567_295_488, 6_946_075_648, 40960),
    FamilyMember("Qwen/Qwen3-Reranker-0.6B", "reranker", *_06B, 595_776_512, 440_467_456, 40960),
    FamilyMember("Qwen/Qwen3-Reranker-4B", "reranker", *_4B, 4_021_784_576, 3_633_511_936, 40960),
    FamilyMember("Qwen/Qwen3-Reranker-8B", "reranker", *_8B, 8_188_548_096, 6_946_075_648, 40960),
)

SMALLEST_DIMENSION = 32
"""The models are trained (MRL) to be cut to any dimension from here to their hidden size."""

FP16_UNSAFE_HIDDEN_SIZE = 4096
"""The 8B gives NaN in fp16 on ordinary texts; the vendor says bf16 or fp32."""


def recognise(kind: Kind, hidden_size: int, layers: int, heads: int, intermediate_size: int) -> FamilyMember | None:
    """The published checkpoint of this kind and shape, or None. A fine-tuned one has its parent's shape."""
    shape = (hidden_size, layers, heads, intermediate_size)
    for member in FAMILY:
        if member.kind == kind and (member.hidden_size, member.layers, member.heads, member.intermediate_size) == shape:
            return member
    return None
