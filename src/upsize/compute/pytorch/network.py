"""Qwen3, packed: flat token ids and cumulative lengths in, the last state of each sequence out.

Written once, against the five operations of `Backend`. There is no padding anywhere, and every sequence attends to
itself alone, so a text's state does not depend on its batch mates. The residual stream is float32 in every precision.

The work goes slab by slab (a few hundred rows through one whole layer), and `forward` is a generator that pauses
after each. So the memory of a 32k text is its residual stream, one layer's keys and values and one slab, and a short
query can overtake a long text.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

import torch
from torch import Tensor

from upsize.model.config import ModelConfig

Linear = Callable[[Tensor], Tensor]
"""(rows, inputs) → (rows, outputs)."""


class Backend(Protocol):
    """Where numbers are crunched: one device at one precision. Rows are tokens of packed sequences."""

    device: torch.device
    dtype: torch.dtype
    """Of activations between operations. Residuals, norms' insides and softmax are float32."""
    slab: int
    """Rows that go through a layer at once."""

    def linear(self, weights: Sequence[Tensor]) -> Linear:
        """A product with the matrices (outputs, inputs), their outputs side by side. Takes the weights into its
        keeping: they may be stored, moved or packed here, once."""

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """RMSNorm over the last dimension, computed in float32, given in `dtype`."""

    def rotary(self, x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """Rotate (rows, heads, head_dim) by half-dimension tables (rows, head_dim / 2) in float32."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, cu_q: Sequence[int], cu_k: Sequence[int]) -> Tensor:
        """Causal attention within each sequence: q (rows, heads, head_dim), k and v with their own rows and heads.
        A sequence's queries stand at the end of its keys. Gives (rows, heads × head_dim)."""

    def activation(self, gate_up: Tensor) -> Tensor:
        """SwiGLU: silu(first half) × second half of the last dimension."""


@dataclass(frozen=True)
class Layer:
    """One block's operations, weights inside."""

    input_norm: Tensor
    qkv: Linear
    q_norm: Tensor
    k_norm: Tensor
    output: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear


class Qwen3:
    """The network without its head. `tensors` is read once, a layer at a time, and may map its values from disk."""

    def __init__(self, config: ModelConfig, load: Callable[[str], Tensor], backend: Backend) -> None:
        self.config, self.backend = config, backend

        def small(name: str) -> Tensor:
            return load(name).to(backend.device, torch.float32)

        def layer(index: int) -> Layer:
            name = f"layers.{index}."
            return Layer(
                input_norm=small(name + "input_layernorm.weight"),
                qkv=backend.linear([load(f"{name}self_attn.{p}_proj.weight") for p in "qkv"]),
                q_norm=small(name + "self_attn.q_norm.weight"),
                k_norm=small(name + "self_attn.k_norm.weight"),
                output=backend.linear([load(name + "self_attn.o_proj.weight")]),
                mlp_norm=small(name + "post_attention_layernorm.weight"),
                gate_up=backend.linear([load(f"{name}mlp.{p}_proj.weight") for p in ("gate", "up")]),
                down=backend.linear([load(name + "mlp.down_proj.weight")]),
            )

        self.embedding = load("embed_tokens.weight").to(backend.device)
        self.layers = [layer(index) for index in range(config.layers)]
        self.final_norm = small("norm.weight")
        half = torch.arange(0, config.head_dim, 2, dtype=torch.float32, device=backend.device)
        self.inverse_frequency = 1.0 / config.rope_theta ** (half / config.head_dim)

    def forward(self, ids: Tensor, cu: Sequence[int]) -> Generator[bool, None, Tensor]:
        """Last states after the final norm, (sequences, hidden) in float32.

        `ids` (tokens,) are the sequences laid end to end; sequence i is `ids[cu[i]:cu[i + 1]]`. Run it to its end, or
        pause after any step (False: there is more to launch); closing it drops the work.
        """
        c, device = self.config, self.backend.device
        positions = torch.cat([torch.arange(b - a) for a, b in pairwise(cu)]).to(device)
        angles = positions[:, None] * self.inverse_frequency
        cos, sin = angles.cos(), angles.sin()
        x = torch.nn.functional.embedding(ids, self.embedding).float()
        keys = torch.empty(len(ids), c.kv_heads, c.head_dim, dtype=self.backend.dtype, device=device)
        values = torch.empty_like(keys)
        slabs = [
            Slab.cut(cu, start, min(start + self.backend.slab, len(ids)))
            for start in range(0, len(ids), self.backend.slab)
        ]
        for layer in self.layers[:-1]:
            for slab in slabs:
                self._block(layer, x, cos, sin, keys, values, slab)
                yield False
        out = yield from self._last_block(self.layers[-1], x, cos, sin, keys, values, slabs, cu)
        return self.backend.norm(out, self.final_norm, c.norm_eps).float()

    def _project(self, layer: Layer, x: Tensor, cos: Tensor, sin: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Rotated queries, rotated keys, values of some rows."""
        c, b = self.config, self.backend
        qkv = layer.qkv(b.norm(x, layer.input_norm, c.norm_eps)).view(len(x), -1, c.head_dim)
        q, k, v = torch.split(qkv, [c.heads, c.kv_heads, c.kv_heads], 1)
        q = b.rotary(b.norm(q, layer.q_norm, c.norm_eps), cos, sin)
        k = b.rotary(b.norm(k, layer.k_norm, c.norm_eps), cos, sin)
        return q, k, v

    def _mlp(self, layer: Layer, x: Tensor) -> Tensor:
        b = self.backend
        return layer.down(b.activation(layer.gate_up(b.norm(x, layer.mlp_norm, self.config.norm_eps))))

    def _block(
        self, layer: Layer, x: Tensor, cos: Tensor, sin: Tensor, keys: Tensor, values: Tensor, slab: Slab
    ) -> None:
        """Take one slab of the residual stream `x` through one layer, in place."""
        rows, span = slice(slab.start, slab.stop), slice(slab.first_key, slab.stop)
        q, keys[rows], values[rows] = self._project(layer, x[rows], cos[rows], sin[rows])
        attended = self.backend.attention(q, keys[span], values[span], slab.cu_q, slab.cu_k)
        x[rows] += layer.output(attended)
        x[rows] += self._mlp(layer, x[rows])

    def _last_block(
        self,
        layer: Layer,
        x: Tensor,
        cos: Tensor,
        sin: Tensor,
        keys: Tensor,
        values: Tensor,
        slabs: Sequence[Slab],
        cu: Sequence[int],
    ) -> Generator[bool, None, Tensor]:
        """The last layer: keys and values of all rows, but everything after them of the last rows alone."""
        last_queries = []
        for slab in slabs:
            rows = slice(slab.start, slab.stop)
            q, keys[rows], values[rows] = self._project(layer, x[rows], cos[rows], sin[rows])
            ends = [end - 1 - slab.start for end in cu[1:] if slab.start < end <= slab.stop]
            last_queries.append(q[ends])
            yield False
        attended = self.backend.attention(torch.cat(last_queries), keys, values, range(len(cu)), cu)
        out = x[[end - 1 for end in cu[1:]]] + layer.output(attended)
        return out + self._mlp(layer, out)


@dataclass(frozen=True)
class Slab:
    """Rows [start, stop) of a packed batch, and the pieces of sequences in them with the keys they see."""

    start: int
    stop: int
    first_key: int
    cu_q: tuple[int, ...]
    """Bounds of the pieces, counted from `start`."""
    cu_k: tuple[int, ...]
    """Bounds of their keys, counted from `first_key`: a piece sees its sequence from its first token on."""

    @classmethod
    def cut(cls, cu: Sequence[int], start: int, stop: int) -> Slab:
        """The slab of rows [start, stop) of the batch whose sequences are bounded by `cu`."""
        pieces = [(a, min(b, stop)) for a, b in pairwise(cu) if a < stop and b > start]
        first = pieces[0][0]
        return cls(
            start,
            stop,
            first,
            (0, *(b - start for _, b in pieces)),
            (0, *(b - first for _, b in pieces)),
        )
