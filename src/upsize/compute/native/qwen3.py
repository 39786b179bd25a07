"""Qwen3 on compiled kernels, packed: flat token ids and cumulative lengths in, last tokens' hidden states out.

A batch goes through each layer in prefill chunks of a few hundred rows. `forward` is a generator with a yield point
after each chunk, so that a short query can preempt a long text. Two library calls compute a chunk's layer:
`qkv_forward` its queries, keys and values, `attn_mlp_forward` its attention and MLP. The values between the GEMMs stay
in the CPU's caches. In the last layer only keys and values are computed for all rows; the rest is for each sequence's
last row alone.

The residual stream is float32, keys and values are bfloat16. Each sequence's keys start at a multiple of 64 slots, so
every sum has the same order in every batch: a text's hidden state is the same to the bit whatever its batch mates, and
whether or not the prefix cache hits.

The module uses numpy and no torch, because torch's idle threads spin and would take cores from the kernels' threads.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Generator, Mapping, Sequence
from ctypes import byref
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from upsize.compute.native import library as c
from upsize.compute.native.batch_layout import BatchLayout
from upsize.compute.native.packing import GROUP, LayerAtATime, rotated_group
from upsize.compute.native.prefix_cache import PREFIX_CACHE_BYTES, Prefix, PrefixCache, kv_bytes_per_token
from upsize.model.config import ModelConfig
from upsize.model.weights import StoredRows

MIN_CHUNK_ROWS, MAX_CHUNK_ROWS = 128, 512
"""Rows of a prefill chunk: at most a CPU batch (`plan.CPU_BUDGET`), because GEMMs are no faster with more rows."""
QUERY_TOKENS = 27
"""Tokens of a short query, for which `prefill_chunk_rows` sets the distance of yield points."""
Floats = NDArray[np.float32]


def prefill_chunk_rows(layers: int) -> int:
    """Rows of a prefill chunk in a network of so many layers.

    A chunk takes about as long in one layer as a short query takes in all layers, so a query that preempts a batch
    waits about as long as it computes.
    """
    rows = QUERY_TOKENS * layers // MIN_CHUNK_ROWS * MIN_CHUNK_ROWS
    return min(max(rows, MIN_CHUNK_ROWS), MAX_CHUNK_ROWS)


class NativeQwen3:
    """Qwen3 without a head, over packed weights (`packing.packed_arrays`)."""

    def __init__(
        self,
        config: ModelConfig,
        packed: Mapping[str, NDArray[np.generic]] | LayerAtATime,
        embedding: NDArray[np.generic] | StoredRows,
        precision: str,
        threads: int,
        chunk_rows: int | None = None,
        prefix_cache_bytes: int = PREFIX_CACHE_BYTES,
        guard: Callable[[], None] | None = None,
    ) -> None:
        """`embedding` is (vocabulary, hidden), in any float type. `guard` runs before and after each batch, and raises
        where the packed arrays have changed."""
        library = c.library()
        assert library is not None  # `plan` chooses this network only where the library is loaded
        self._library: ctypes.CDLL = library
        library.upsize_set_threads(threads)
        self.config, self.int8 = config, precision == "int8"
        self.chunk_rows = chunk_rows or prefill_chunk_rows(config.layers)
        self.compute_dtype = precision
        self._guard = guard or (lambda: None)
        self._packed, self._embedding = packed, embedding  # the layers hold pointers into the arrays
        self._layers = None if isinstance(packed, LayerAtATime) else [self._layer(i) for i in range(config.layers)]
        half = np.arange(0, config.head_dim, 2, dtype=np.float32)
        self._inverse_frequency = (1.0 / config.rope_theta ** (half / config.head_dim)).astype(np.float32)
        self.prefixes = PrefixCache(prefix_cache_bytes, kv_bytes_per_token(config))

    def use_threads(self, count: int) -> None:
        """Use `count` of the process's threads from now on."""
        self._library.upsize_use_threads(count)

    def forward(self, ids: NDArray[np.integer], cu: Sequence[int]) -> Generator[bool, None, Floats]:
        """Each sequence's last hidden state after the final norm, (sequences, hidden) in float32.

        `ids` (tokens,) are the sequences end to end; sequence i is `ids[cu[i]:cu[i + 1]]`. Rows of cached prefixes are
        not computed again. The generator yields False after each prefill chunk of each layer and True at the end;
        closing it drops the batch.

        Raises MemoryError where the kernels cannot allocate, and what `guard` raises.
        """
        self._guard()
        lookups = self.prefixes.lookup([ids[a:b] for a, b in pairwise(cu)])
        stored: list[list[Prefix.Layer]] = [[] for _ in lookups]
        layout = BatchLayout(self.config, [len(p.ids) for p in lookups], [p.hit_tokens for p in lookups])
        x = self._token_vectors(np.concatenate([p.ids[p.hit_tokens :] for p in lookups]))
        angles = layout.positions[:, None].astype(np.float32) * self._inverse_frequency
        batch, _memory = layout.batch(x, np.cos(angles), np.sin(angles))
        chunks = [(start, min(start + self.chunk_rows, len(x))) for start in range(0, len(x), self.chunk_rows)]
        for index, layer in enumerate(self._layers or map(self._layer, range(self.config.layers))):
            last = index == self.config.layers - 1
            for i, found in enumerate(lookups):
                if found.prefix is not None:
                    layout.restore_prefix(i, found.prefix.layers[index], found.hit_tokens)
            for start, stop in chunks:
                self._library.upsize_qkv_forward(byref(layer), byref(batch), start, stop)
                if not last:
                    self._library.upsize_attn_mlp_forward(byref(layer), byref(batch), start, stop)
                yield False
            for i, found in enumerate(lookups):
                if found.store_tokens:
                    stored[i].append(layout.copy_prefix(i, found.store_tokens))
        self._guard()  # before the prefixes are stored: they outlive the batch
        self.prefixes.add(
            Prefix(p.ids[: p.store_tokens], tuple(layers)) for p, layers in zip(lookups, stored, strict=True) if layers
        )
        # The rest of the last layer is for the last rows alone. It reads no rotary tables.
        out = x[layout.ends]
        batch, _memory = layout.last().batch(out, angles, angles)
        self._library.upsize_attn_mlp_forward(byref(layer), byref(batch), 0, len(out))
        self._rotate(out)
        scale = np.sqrt(np.mean(out * out, 1, keepdims=True) + np.float32(self.config.norm_eps))
        normed: Floats = out / scale * self._packed["norm"].view(np.float32)
        self._guard()
        yield True
        return normed

    def _token_vectors(self, ids: NDArray[np.integer]) -> Floats:
        x: Floats = self._embedding[ids].astype(np.float32)
        self._rotate(x)
        return x

    def _rotate(self, x: Floats) -> None:
        """Convert from or to the rotated basis of int8, in place. The rotation is its own inverse."""
        if self.int8:
            self._library.upsize_rotate(x.ctypes.data, len(x), self.config.hidden_size)

    def _layer(self, index: int) -> c.CLayer:
        name, config = f"layers.{index}.", self.config
        width = config.heads * config.head_dim

        def pointer(part: str) -> int:
            return self._packed[name + part].ctypes.data

        def matrix(part: str, inputs: int, outputs: int, group: int = GROUP) -> c.CMatrix:
            scales = pointer(f"{part}.scales") if self.int8 else None
            return c.CMatrix(pointer(f"{part}.panels"), scales, inputs, outputs, group, c.INT8 if self.int8 else c.BF16)

        rotated = rotated_group(config.hidden_size)

        return c.CLayer(
            matrix("qkv", config.hidden_size, width + 2 * config.kv_heads * config.head_dim, rotated),
            matrix("output", width, config.hidden_size),
            matrix("gate_up", config.hidden_size, len(self._packed[f"{name}gate_up.panels"]) * c.PANEL, rotated),
            matrix("down", config.intermediate_size, config.hidden_size),
            *map(pointer, ("input_norm", "q_norm", "k_norm", "mlp_norm")),
            config.hidden_size,
            config.heads,
            config.kv_heads,
            config.head_dim,
            config.intermediate_size,
            config.norm_eps,
        )
