"""Published shapes with random weights: as fast as the published checkpoints, and without any meaning."""

from __future__ import annotations

from functools import cache
from math import prod

import numpy as np
from ml_dtypes import bfloat16

from upsize.catalog import FamilyMember
from upsize.model.config import ModelConfig
from upsize.model.stored_tensor import Array

_BLOCK = 1 << 22
"""Random values that are repeated to fill a tensor. Speed does not depend on values."""
_VOCABULARY = 151_669
"""Rows of the published embeddings (docs/sources.md §1)."""


def config_of(member: FamilyMember) -> ModelConfig:
    """The configuration of a published checkpoint."""
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


def random_weights(shape: tuple[int, ...]) -> Array:
    """A bfloat16 tensor: ones for a norm, otherwise a repeated block of normal values."""
    if len(shape) == 1:
        return np.ones(shape, bfloat16)
    return np.resize(_block(), prod(shape)).reshape(shape)


@cache
def _block() -> Array:
    return (np.random.default_rng(0).standard_normal(_BLOCK, np.float32) * np.float32(0.02)).astype(bfloat16)
