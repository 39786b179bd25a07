"""The published shapes, with random weights in them: as fast as the real ones, and worth nothing."""

from __future__ import annotations

from functools import cache
from math import prod

import torch

from upsize.catalog import FamilyMember
from upsize.model.config import ModelConfig

_BLOCK = 1 << 22
_VOCABULARY = 151_669


def config_of(member: FamilyMember) -> ModelConfig:
    """The configuration that a published checkpoint has."""
    return ModelConfig(
        architecture="Qwen3ForCausalLM",
        hidden_size=member.hidden_size,
        layers=member.layers,
        heads=member.heads,
        kv_heads=8,
        head_dim=128,
        intermediate_size=member.intermediate_size,
        vocab_size=_VOCABULARY,
        max_positions=member.context,
        norm_eps=1e-6,
        rope_theta=1e6,
        tied=member.size != "8B",
        dtype="bfloat16",
    )


def random_weights(shape: tuple[int, ...]) -> torch.Tensor:
    """bfloat16 values of a new tensor: ones of a norm, else one normal block, repeated. Speed depends on no value."""
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    size, block = prod(shape), _block()
    return block.repeat(-(-size // len(block)))[:size].reshape(shape).contiguous()


@cache
def _block() -> torch.Tensor:
    return (torch.randn(_BLOCK, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()
