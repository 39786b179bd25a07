"""Qwen3, packed: flat token ids and cumulative lengths in, the last state of each sequence out.

Written once, against the operations of `Backend`. There is no padding anywhere, and every sequence attends to
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
    chunk_rows: int
    """Rows that go through a layer at once."""

    def linear(self, weights: Sequence[Tensor]) -> Linear:
        """A product with the matrices (outputs, inputs), their outputs side by side. Takes the weights into its
        keeping: they may be stored, moved or packed here, once."""

    def norm(self, x: Tensor, weight: Tensor, eps: float) -> Tensor:
        """RMSNorm over the last dimension, computed in float32, given in `dtype`."""

    def add_norm(self, x: Tensor, delta: Tensor, weight: Tensor, eps: float) -> Tensor:
        """Add `delta` to the residual stream `x` in place, then as `norm`."""

    def norm_rope(
        self,
        qkv: Tensor,
        weights: tuple[Tensor, Tensor],
        tables: tuple[Tensor, Tensor],
        keys: Tensor,
        values: Tensor,
        eps: float,
    ) -> Tensor:
        """Of (rows, heads + 2 × kv_heads, head_dim): queries and keys, normed by `weights` of each and rotated by
        half-dimension `tables` of cosines and sines (rows, head_dim / 2) in float32. Gives the queries; keys and
        values go to `keys` and `values` (rows, kv_heads, head_dim)."""

    def attention_bounds(self, cu_q: Sequence[int], cu_k: Sequence[int]) -> AttentionBounds:
        """Bounds of pieces of sequences and of the keys that they see, as `attention` takes them."""

    def attention(self, q: Tensor, k: Tensor, v: Tensor, bounds: AttentionBounds) -> Tensor:
        """Causal attention within each sequence: q (rows, heads, head_dim), k and v with their own rows and heads.
        A sequence's queries stand at the end of its keys. Gives (rows, heads × head_dim)."""

    def activation(self, gate_up: Tensor) -> Tensor:
        """SwiGLU: silu(first half) × second half of the last dimension."""


@dataclass(frozen=True)
class AttentionBounds:
    """Bounds of pieces of sequences among the rows of queries, and of their keys among the rows of keys."""

    cu_q: Sequence[int]
    cu_k: Sequence[int]
    on_device: tuple[Tensor, Tensor] | None = None
    """The same in int32, where a backend wants it so."""
    longest: tuple[int, int] = (0, 0)
    """Rows of the longest piece and of the longest keys, or more, for such a backend."""


@dataclass(frozen=True)
class DecoderLayer:
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
    """The network without its head. `tensors` is read once, a layer at a time."""

    def __init__(self, config: ModelConfig, load: Callable[[str], Tensor], backend: Backend) -> None:
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
        """Last states after the final norm, (sequences, hidden) in float32.

        `ids` (tokens,) are the sequences laid end to end; sequence i is `ids[cu[i]:cu[i + 1]]`. Run it to its end, or
        pause after any step (False: there is more to launch); closing it drops the work.
        """
        return self.run(PackedBatch.of(ids, cu, self.backend))

    def run(self, batch: PackedBatch) -> Generator[bool, None, Tensor]:
        """As `forward`, of a batch whose bounds are on the device: from here on nothing waits for it."""
        c, device = self.config, self.backend.device
        angles = batch.positions[:, None] * self.inverse_frequency
        tables = angles.cos(), angles.sin()
        x = torch.nn.functional.embedding(batch.ids, self.embedding).float()
        keys = torch.empty(len(x), c.kv_heads, c.head_dim, dtype=self.backend.dtype, device=device)
        values = torch.empty_like(keys)
        deltas: list[Tensor | None] = [None] * len(batch.chunks)  # what each slab's last MLP has still to add to x
        for layer in self.layers[:-1]:
            for i, chunk in enumerate(batch.chunks):
                rows, seen = slice(chunk.start, chunk.stop), slice(chunk.first_key, chunk.stop)
                q = self._qkv_forward(layer, x, deltas[i], tables, keys, values, rows)
                attended = self.backend.attention(q, keys[seen], values[seen], chunk.bounds)
                deltas[i] = self._attn_mlp_forward(layer, x[rows], attended)
                yield False
        # In the last layer everything after keys and values is for the last rows alone.
        layer, last_queries = self.layers[-1], []
        for i, chunk in enumerate(batch.chunks):
            q = self._qkv_forward(layer, x, deltas[i], tables, keys, values, slice(chunk.start, chunk.stop))
            last_queries.append(q[chunk.ends])
            yield False
        out = x[batch.last]
        attended = self.backend.attention(torch.cat(last_queries), keys, values, batch.last_bounds)
        delta = self._attn_mlp_forward(layer, out, attended)
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
        """Queries of some rows of the residual stream `x`, once `delta` is added; their keys and values go to their
        places."""
        c, b = self.config, self.backend
        if delta is None:
            normed = b.norm(x[rows], layer.input_norm, c.norm_eps)
        else:
            normed = b.add_norm(x[rows], delta, layer.input_norm, c.norm_eps)
        qkv = layer.qkv(normed).view(-1, c.heads + 2 * c.kv_heads, c.head_dim)
        cos, sin = tables
        weights = layer.q_norm, layer.k_norm
        return b.norm_rope(qkv, weights, (cos[rows], sin[rows]), keys[rows], values[rows], c.norm_eps)

    def _attn_mlp_forward(self, layer: DecoderLayer, x: Tensor, attended: Tensor) -> Tensor:
        """Add what was attended to to rows `x` of the residual stream; what the MLP makes of them is still to add."""
        b = self.backend
        normed = b.add_norm(x, layer.output(attended), layer.mlp_norm, self.config.norm_eps)
        return layer.down(b.activation(layer.gate_up(normed)))


@dataclass(frozen=True)
class PackedBatch:
    """A batch as a backend takes it: its bounds are where its arithmetic is."""

    ids: Tensor
    positions: Tensor
    """Of each token in its sequence."""
    chunks: tuple[PrefillChunk, ...]
    last: Tensor
    """Rows of the sequences' last tokens."""
    last_bounds: AttentionBounds
    """Of these and all keys."""

    @classmethod
    def of(cls, ids: Tensor, cu: Sequence[int], backend: Backend) -> PackedBatch:
        """The batch whose sequences are bounded by `cu`."""
        device = backend.device
        positions = torch.cat([torch.arange(b - a) for a, b in pairwise(cu)]).to(device)
        chunks = []
        for start in range(0, len(ids), backend.chunk_rows):
            chunk = ChunkBounds.cut(cu, start, min(start + backend.chunk_rows, len(ids)))
            ends = torch.tensor(chunk.ends, dtype=torch.int64, device=device)
            chunks.append(
                PrefillChunk(
                    chunk.start, chunk.stop, chunk.first_key, backend.attention_bounds(chunk.cu_q, chunk.cu_k), ends
                )
            )
        last = torch.tensor([end - 1 for end in cu[1:]], device=device)
        return cls(ids, positions, tuple(chunks), last, backend.attention_bounds(range(len(cu)), cu))


@dataclass(frozen=True)
class PrefillChunk:
    """Rows [start, stop) of a `PackedBatch`. `ends` are the rows of last tokens, counted from `start`."""

    start: int
    stop: int
    first_key: int
    bounds: AttentionBounds
    ends: Tensor


@dataclass(frozen=True)
class ChunkBounds:
    """Rows [start, stop) of a packed batch, and the pieces of sequences in them with the keys they see."""

    start: int
    stop: int
    first_key: int
    cu_q: tuple[int, ...]
    """Bounds of the pieces, counted from `start`."""
    cu_k: tuple[int, ...]
    """Bounds of their keys, counted from `first_key`: a piece sees its sequence from its first token on."""
    ends: tuple[int, ...]
    """Rows of sequences' last tokens, counted from `start`."""

    @classmethod
    def cut(cls, cu: Sequence[int], start: int, stop: int) -> ChunkBounds:
        """The slab of rows [start, stop) of the batch whose sequences are bounded by `cu`."""
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
