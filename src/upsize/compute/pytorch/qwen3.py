"""Qwen3 on torch, packed: flat token ids and cumulative lengths in, each sequence's last hidden state out.

The network is written once, against the operations of `Backend`. There is no padding, and each sequence attends to
itself only, so a text's hidden state does not depend on its batch mates. The residual stream is float32 in every
precision.

A batch goes through each layer in prefill chunks of a few hundred rows. `forward` is a generator with a yield point
after each chunk, so that a short query can preempt a long text. The memory of a text of 32k tokens is its residual
stream, one layer's keys and values, and one prefill chunk.
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
    """The operations of one device in one precision. Rows are tokens of packed sequences."""

    device: torch.device
    dtype: torch.dtype
    """The dtype of activations between operations. The residual stream, norms and softmax compute in float32."""
    chunk_rows: int
    """Rows of a prefill chunk."""

    def linear(self, weights: Sequence[Tensor]) -> Linear:
        """The linear map of the matrices (outputs, inputs), with their outputs concatenated. The backend may move,
        convert or pack the weights here, once."""

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """RMSNorm over the last dimension, computed in float32 and returned in `dtype`."""

    def add_norm(self, x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Add `delta` to the residual stream `x` in place; return the `norm` of the sum."""

    def norm_rope(
        self,
        qkv: Tensor,
        weights: tuple[Tensor, Tensor],
        tables: tuple[Tensor, Tensor],
        keys: Tensor,
        values: Tensor,
        eps: float,
    ) -> Tensor:
        """RMSNorm and RoPE of the query and key heads of `qkv` (rows, heads + 2 × kv_heads, head_dim).

        `weights` are the norm weights of queries and keys; `tables` are cosines and sines (rows, head_dim / 2) in
        float32. Returns the queries; writes keys and values to `keys` and `values` (rows, kv_heads, head_dim).
        """

    def attention_bounds(self, cu_q: Sequence[int], cu_k: Sequence[int]) -> AttentionBounds:
        """The argument of `attention` for spans of sequences with cumulative lengths `cu_q` and keys with `cu_k`."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, bounds: AttentionBounds) -> Tensor:
        """Causal attention within each sequence: q (rows, heads, head_dim), k and v (their rows, kv_heads, head_dim).
        A sequence's queries are the last of its key positions. Returns (rows, heads × head_dim)."""

    def activation(self, gate_up: Tensor) -> Tensor:
        """SwiGLU: silu(first half) × second half of the last dimension."""


@dataclass(frozen=True)
class AttentionBounds:
    """Cumulative lengths of spans of sequences: of their queries and of their keys."""

    cu_q: Sequence[int]
    cu_k: Sequence[int]
    on_device: tuple[Tensor, Tensor] | None = None
    """The same in int32 on the device, for a backend that needs them there."""
    longest: tuple[int, int] = (0, 0)
    """Upper bounds of a span's queries and of its keys, for such a backend."""


@dataclass(frozen=True)
class DecoderLayer:
    """The weights and linear maps of one decoder layer."""

    input_norm: Tensor
    qkv: Linear
    q_norm: Tensor
    k_norm: Tensor
    output: Linear
    mlp_norm: Tensor
    gate_up: Linear
    down: Linear


class Qwen3:
    """Qwen3 without a head."""

    def __init__(self, config: ModelConfig, load: Callable[[str], Tensor], backend: Backend) -> None:
        """`load` returns a tensor by name; the network loads each once, a layer at a time."""
        self.config, self.backend = config, backend

        def small(name: str) -> Tensor:
            return load(name).to(backend.device, torch.float32)

        def layer(index: int) -> DecoderLayer:
            name = f"layers.{index}."
            return DecoderLayer(
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
        """Each sequence's last hidden state after the final norm, (sequences, hidden) in float32.

        `ids` (tokens,) are the sequences end to end; sequence i is `ids[cu[i]:cu[i + 1]]`. The generator yields False
        after each prefill chunk of each layer; closing it drops the batch.
        """
        return self.run(PackedBatch.of(ids, cu, self.backend))

    def run(self, batch: PackedBatch) -> Generator[bool, None, Tensor]:
        """As `forward`, for a batch whose bounds are on the device: nothing in it waits for the device."""
        c, device = self.config, self.backend.device
        angles = batch.positions[:, None] * self.inverse_frequency
        tables = angles.cos(), angles.sin()
        x = torch.nn.functional.embedding(batch.ids, self.embedding).float()
        keys = torch.empty(len(x), c.kv_heads, c.head_dim, dtype=self.backend.dtype, device=device)
        values = torch.empty_like(keys)
        deltas: list[Tensor | None] = [None] * len(batch.chunks)  # each chunk's last MLP output, not yet added to x
        for layer in self.layers[:-1]:
            for i, chunk in enumerate(batch.chunks):
                rows, seen = slice(chunk.start, chunk.stop), slice(chunk.first_key, chunk.stop)
                q = self._qkv_forward(layer, x, deltas[i], tables, keys, values, rows)
                attended = self.backend.attention(q, keys[seen], values[seen], chunk.bounds)
                deltas[i] = self._output_mlp_forward(layer, x[rows], attended)
                yield False
        # The last layer computes keys and values of all rows; the rest is for the sequences' last rows alone.
        layer, last_queries = self.layers[-1], []
        for i, chunk in enumerate(batch.chunks):
            q = self._qkv_forward(layer, x, deltas[i], tables, keys, values, slice(chunk.start, chunk.stop))
            last_queries.append(q[chunk.ends])
            yield False
        out = x[batch.last]
        attended = self.backend.attention(torch.cat(last_queries), keys, values, batch.last_bounds)
        delta = self._output_mlp_forward(layer, out, attended)
        return self.backend.add_norm(out, delta, self.final_norm, c.norm_eps).float()

    def _qkv_forward(
        self,
        layer: DecoderLayer,
        x: Tensor,
        delta: Tensor | None,
        tables: tuple[Tensor, Tensor],
        keys: Tensor,
        values: Tensor,
        rows: slice,
    ) -> Tensor:
        """Add `delta` to `rows` of the residual stream `x`; return their queries and write their keys and values."""
        c, b = self.config, self.backend
        if delta is None:
            normed = b.norm(x[rows], layer.input_norm, c.norm_eps)
        else:
            normed = b.add_norm(x[rows], delta, layer.input_norm, c.norm_eps)
        qkv = layer.qkv(normed).view(-1, c.heads + 2 * c.kv_heads, c.head_dim)
        cos, sin = tables
        weights = layer.q_norm, layer.k_norm
        return b.norm_rope(qkv, weights, (cos[rows], sin[rows]), keys[rows], values[rows], c.norm_eps)

    def _output_mlp_forward(self, layer: DecoderLayer, x: Tensor, attended: Tensor) -> Tensor:
        """Add the attention's output to rows `x` of the residual stream; return the MLP's output, not yet added."""
        b = self.backend
        normed = b.add_norm(x, layer.output(attended), layer.mlp_norm, self.config.norm_eps)
        return layer.down(b.activation(layer.gate_up(normed)))


@dataclass(frozen=True)
class PackedBatch:
    """A batch whose token ids and bounds are on the backend's device."""

    ids: Tensor
    positions: Tensor
    """Each token's position in its sequence."""
    chunks: tuple[PrefillChunk, ...]
    last: Tensor
    """Rows of the sequences' last tokens."""
    last_bounds: AttentionBounds
    """Of the last rows as queries and all rows as keys."""

    @classmethod
    def of(cls, ids: Tensor, cu: Sequence[int], backend: Backend) -> PackedBatch:
        """The batch of the sequences with cumulative lengths `cu`."""
        device = backend.device
        positions = torch.cat([torch.arange(b - a) for a, b in pairwise(cu)]).to(device)
        chunks = []
        for start in range(0, len(ids), backend.chunk_rows):
            chunk = ChunkBounds.cut(cu, start, min(start + backend.chunk_rows, len(ids)))
            ends = torch.tensor(chunk.ends, dtype=torch.int64, device=device)
            bounds = backend.attention_bounds(chunk.cu_q, chunk.cu_k)
            chunks.append(PrefillChunk(chunk.start, chunk.stop, chunk.first_key, bounds, ends))
        last = torch.tensor([end - 1 for end in cu[1:]], device=device)
        return cls(ids, positions, tuple(chunks), last, backend.attention_bounds(range(len(cu)), cu))


@dataclass(frozen=True)
class PrefillChunk:
    """Rows [start, stop) of a `PackedBatch`; `ends` are the rows of last tokens relative to `start`."""

    start: int
    stop: int
    first_key: int
    bounds: AttentionBounds
    ends: Tensor


@dataclass(frozen=True)
class ChunkBounds:
    """Rows [start, stop) of a packed batch, with the spans of sequences in them and the keys that these see."""

    start: int
    stop: int
    first_key: int
    cu_q: tuple[int, ...]
    """Bounds of the spans relative to `start`."""
    cu_k: tuple[int, ...]
    """Bounds of their keys relative to `first_key`: a span sees its sequence from the first token on."""
    ends: tuple[int, ...]
    """Rows of sequences' last tokens relative to `start`."""

    @classmethod
    def cut(cls, cu: Sequence[int], start: int, stop: int) -> ChunkBounds:
        """The chunk of rows [start, stop) of the batch of the sequences with cumulative lengths `cu`."""
        spans = [(a, min(b, stop)) for a, b in pairwise(cu) if a < stop and b > start]
        first = spans[0][0]
        return cls(
            start,
            stop,
            first,
            (0, *(b - start for _, b in spans)),
            (0, *(b - first for _, b in spans)),
            tuple(end - 1 - start for end in cu[1:] if start < end <= stop),
        )
