"""Floating-point operations of a forward pass, by the shapes of its matrices."""

from __future__ import annotations

from math import prod

from upsize.catalog import FLOPS_PER_MAC
from upsize.model.config import ModelConfig
from upsize.model.weights import layer_shapes


def pass_flops(config: ModelConfig, tokens: int) -> float:
    """Operations of the GEMMs of one pass over one sequence of `tokens` tokens.

    The last layer computes only its keys and values for all tokens: everything else there is needed for one token, and
    is not counted. Attention, which grows with the square of the length, is not counted either.
    """
    layer = sum(prod(shape) for shape in layer_shapes(config).values() if len(shape) > 1)
    keys_and_values = 2 * config.kv_heads * config.head_dim * config.hidden_size
    return float(FLOPS_PER_MAC * tokens * ((config.layers - 1) * layer + keys_and_values))
