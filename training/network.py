"""The Qwen3 architecture in plain PyTorch, trainable on a CPU, with the tensor names of the published checkpoints.

Sequences are padded on the right: with causal attention a pad never reaches a token before it, so no mask is needed.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional as F

ROPE_THETA = 1e6
EPSILON = 1e-6


@dataclass(frozen=True)
class Size:
    """Shape of a model."""

    vocabulary: int
    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate: int
    max_positions: int = 8192


VOCABULARY = 16384
SIZES = {
    "xs": Size(VOCABULARY, hidden=64, layers=2, heads=4, kv_heads=2, head_dim=32, intermediate=192),
    "s": Size(VOCABULARY, hidden=128, layers=3, heads=4, kv_heads=2, head_dim=32, intermediate=384),
    "m": Size(VOCABULARY, hidden=256, layers=4, heads=8, kv_heads=4, head_dim=32, intermediate=640),
    "rerank": Size(VOCABULARY, hidden=192, layers=4, heads=8, kv_heads=4, head_dim=32, intermediate=512),
}
CHANNELS = 3
"""The last dimensions of an embedding model's states: they carry a token's weight, and are left out of the output."""


class RMSNorm(nn.Module):
    """x / sqrt(mean(x²) + ε) · weight."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))

    def forward(self, x: Tensor) -> Tensor:
        return F.rms_norm(x, self.weight.shape, self.weight, EPSILON)


def rotary(positions: int, dim: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines (positions, dim) of rotary position embedding, halves rotated together as in Qwen."""
    frequencies = ROPE_THETA ** (-torch.arange(0, dim, 2) / dim)
    angles = torch.outer(torch.arange(positions), frequencies)
    angles = torch.cat([angles, angles], dim=1)
    return angles.cos(), angles.sin()


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Apply rotary positions to (batch, heads, length, dim)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-second, first], dim=-1) * sin


def gather(x: Tensor, at: Tensor) -> Tensor:
    """The states (batch, k, hidden) of x (batch, length, hidden) at positions `at` (batch, k)."""
    return x[torch.arange(len(x))[:, None], at]


class Place(NamedTuple):
    """Where tokens stand: rotary cosines and sines (batch or 1, 1, length, dim) and who sees whom, None for causal."""

    cos: Tensor
    sin: Tensor
    mask: Tensor | None  # bool (batch, 1, length, length)


class Attention(nn.Module):
    """Grouped-query attention; q and k are RMS-normalised per head before the rotary positions."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.q_proj = nn.Linear(size.hidden, size.heads * size.head_dim, bias=False)
        self.k_proj = nn.Linear(size.hidden, size.kv_heads * size.head_dim, bias=False)
        self.v_proj = nn.Linear(size.hidden, size.kv_heads * size.head_dim, bias=False)
        self.o_proj = nn.Linear(size.heads * size.head_dim, size.hidden, bias=False)
        self.q_norm, self.k_norm = RMSNorm(size.head_dim), RMSNorm(size.head_dim)

    def forward(self, x: Tensor, place: Place, at: Tensor | None) -> Tensor:
        """Attend over x (batch, length, hidden); with `at` (batch, k) only from those positions: (batch, k, hidden)."""
        batch, length, _ = x.shape
        queries = x if at is None else gather(x, at)
        q = self.q_norm(self.q_proj(queries).view(batch, -1, self.size.heads, self.size.head_dim)).transpose(1, 2)
        k = self.k_norm(self.k_proj(x).view(batch, length, self.size.kv_heads, self.size.head_dim)).transpose(1, 2)
        v = self.v_proj(x).view(batch, length, self.size.kv_heads, self.size.head_dim).transpose(1, 2)
        k = rotate(k, place.cos, place.sin)
        if at is None:
            q, mask = rotate(q, place.cos, place.sin), place.mask
        else:
            rows = torch.arange(batch)[:, None]
            cos, sin = place.cos.expand(batch, -1, -1, -1), place.sin.expand(batch, -1, -1, -1)
            q = rotate(q, cos[rows, 0, at][:, None], sin[rows, 0, at][:, None])
            mask = (
                (torch.arange(length) <= at[:, :, None])[:, None]
                if place.mask is None
                else place.mask[rows, 0, at][:, None]
            )
        y = F.scaled_dot_product_attention(q, k, v, attn_mask=mask, is_causal=mask is None, enable_gqa=True)
        return self.o_proj(y.transpose(1, 2).reshape(batch, queries.shape[1], -1))


class MLP(nn.Module):
    """SwiGLU."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(size.hidden, size.intermediate, bias=False)
        self.up_proj = nn.Linear(size.hidden, size.intermediate, bias=False)
        self.down_proj = nn.Linear(size.intermediate, size.hidden, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class DecoderLayer(nn.Module):
    """Pre-normalised attention and MLP with residual connections."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.self_attn, self.mlp = Attention(size), MLP(size)
        self.input_layernorm, self.post_attention_layernorm = RMSNorm(size.hidden), RMSNorm(size.hidden)

    def forward(self, x: Tensor, place: Place, at: Tensor | None = None) -> Tensor:
        attended = self.self_attn(self.input_layernorm(x), place, at)
        x = (x if at is None else gather(x, at)) + attended
        return x + self.mlp(self.post_attention_layernorm(x))


class Qwen3(nn.Module):
    """Token ids to the state of the last position after the final norm."""

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.size = size
        self.embed_tokens = nn.Embedding(size.vocabulary, size.hidden)
        self.layers = nn.ModuleList(DecoderLayer(size) for _ in range(size.layers))
        self.norm = RMSNorm(size.hidden)
        cos, sin = rotary(size.max_positions, size.head_dim)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def forward(self, ids: Tensor, at: Tensor, positions: Tensor | None = None, mask: Tensor | None = None) -> Tensor:
        """States of `ids` (batch, length) after the final norm at the places `at` (batch, k): (batch, k, hidden).

        `positions` (batch, length) and `mask` (batch, 1, length, length) serve texts that share a start; without them
        the positions count up and attention is causal.
        """
        if positions is None:
            place = Place(self.cos[None, None, : ids.shape[1]], self.sin[None, None, : ids.shape[1]], None)
        else:
            place = Place(self.cos[positions][:, None], self.sin[positions][:, None], mask)
        x = self.embed_tokens(ids)
        for layer in self.layers[:-1]:
            x = layer(x, place)
        return self.norm(self.layers[-1](x, place, at))

    def start_from_tokens(self, vectors: Tensor, weights: Tensor) -> None:
        """Initial weights: a weighted mean of token vectors, in the output's own space.

        Attention of the first two layers copies the values, the first as many dimensions as its value heads hold, the
        second the rest; its logit is the logarithm of the token's weight, read from two of the last three dimensions,
        which serve as channels and are left out of the output. All other branches start at (nearly) zero, so that
        step 0 is already useful.

        Args:
            vectors: (vocabulary, hidden).
            weights: (vocabulary,), each in (0, 1]; at least exp(-5.6).
        """
        size = self.size
        constant, sine, cosine = range(size.hidden - CHANNELS, size.hidden)
        for name, weight in self.named_parameters():
            if weight.dim() == 2 and name != "embed_tokens.weight":
                scale = 0.01 if name.endswith(("o_proj.weight", "down_proj.weight")) else 1.0
                nn.init.normal_(weight, std=scale * size.hidden**-0.5)
        values, group, top = size.kv_heads * size.head_dim, size.heads // size.kv_heads, size.head_dim - 1
        unit = torch.eye(size.hidden)
        with torch.no_grad():
            self.embed_tokens.weight.copy_(vectors)
            self.embed_tokens.weight[:, constant] = 1
            self.embed_tokens.weight[:, sine] = weights.log() / size.head_dim**0.5
            self.embed_tokens.weight[:, cosine] = (1 - weights.log() ** 2 / size.head_dim).sqrt()
            self.norm.weight[constant:] = 0
            self.norm.weight.requires_grad_(False)  # so that the output can be turned, see `turn.py`
            for number, first in enumerate(range(0, constant, values)):
                attention = self.layers[number].self_attn
                attention.q_proj.weight *= 0.3
                attention.k_proj.weight *= 0.3
                attention.q_proj.weight[top :: size.head_dim] = 10 * unit[constant]
                attention.k_proj.weight[top :: size.head_dim] = 10 * unit[sine]
                attention.k_proj.weight[top - 1 :: size.head_dim] = 10 * unit[cosine]
                for row, dimension in enumerate(range(first, min(first + values, constant))):
                    attention.v_proj.weight[row] = unit[dimension]
                    head, offset = divmod(row, size.head_dim)
                    for query_head in range(head * group, (head + 1) * group):
                        attention.o_proj.weight[dimension, query_head * size.head_dim + offset] += 1 / group


def load(folder: Path, size: Size) -> Qwen3:
    """A trained model from a checkpoint folder, prefixed names or not, in float32."""
    tensors = load_file(folder / "model.safetensors")
    model = Qwen3(size)
    model.load_state_dict({name.removeprefix("model."): tensor.float() for name, tensor in tensors.items()})
    return model.eval()
