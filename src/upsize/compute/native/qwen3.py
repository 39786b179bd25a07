"""Qwen3 on compiled kernels, packed: flat token ids and cumulative lengths in, last states out; each layer two calls.

The work goes slab by slab (some hundred rows through one whole layer), and `forward` is a generator that pauses after
each, so that a short query can overtake a long text. In the last layer only keys and values are computed of all rows.
`project` gives the queries, keys and values of a slab's rows, `finish` all that comes after; what lies between the
products happens within the calls, on values that are still in the cache. The residual stream is float32, keys and
values are bfloat16. Each sequence's keys begin at a multiple of 64 slots, so every sum has the same order whatever the
batch: a text's state is the same to the bit in any company, and with its first tokens taken from memory.

All of it is numpy: torch's own threads would wait for work by spinning, and take the cores from ours.
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

CHUNK_ROWS = 128, 512
"""Rows of a slab, at least and at most."""
Floats = NDArray[np.float32]


def prefill_chunk_rows(layers: int) -> int:
    """Rows of a slab, so that a batch pauses about as often as a short query of 27 tokens would take in all layers."""
    fewest, most = CHUNK_ROWS
    return min(max(27 * layers // fewest * fewest, fewest), most)


class NativeQwen3:
    """The network without its head, over packed arrays (`packing.packed_arrays`) that it keeps."""

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
        assert library is not None  # whoever plans a native network has seen its level
        self._library: ctypes.CDLL = library
        library.upsize_threads(threads)
        self.config, self.int8 = config, precision == "int8"
        self.chunk_rows = chunk_rows or prefill_chunk_rows(config.layers)
        self.compute_dtype = precision
        self._guard = guard or (lambda: None)
        self._packed, self._embedding = packed, embedding  # the layers' pointers lead into them
        self._layers = None if isinstance(packed, LayerAtATime) else [self._layer(i) for i in range(config.layers)]
        half = np.arange(0, config.head_dim, 2, dtype=np.float32)
        self._inverse_frequency = (1.0 / config.rope_theta ** (half / config.head_dim)).astype(np.float32)
        self.prefixes = PrefixCache(prefix_cache_bytes, kv_bytes_per_token(config))

    def use_threads(self, count: int) -> None:
        """Compute on so many of the process's threads from now on."""
        self._library.upsize_use_threads(count)

    def forward(self, ids: NDArray[np.integer], cu: Sequence[int]) -> Generator[bool, None, Floats]:
        """Last states after the final norm, (sequences, hidden) in float32.

        `ids` (tokens,) are the sequences laid end to end; sequence i is `ids[cu[i]:cu[i + 1]]`. Run it to its end, or
        pause after any step; closing it drops the work. Its last pause is True. Rows of beginnings that are
        remembered are not computed again.
        """
        self._guard()
        plans = self.prefixes.plan([ids[a:b] for a, b in pairwise(cu)])
        kept: list[list[Prefix.Layer]] = [[] for _ in plans]
        rows = BatchLayout(self.config, [len(p.ids) for p in plans], [p.shared for p in plans])
        x = self._token_vectors(np.concatenate([p.ids[p.shared :] for p in plans]))
        angles = rows.positions[:, None].astype(np.float32) * self._inverse_frequency
        batch, _memory = rows.batch(x, np.cos(angles), np.sin(angles))
        chunks = [(start, min(start + self.chunk_rows, len(x))) for start in range(0, len(x), self.chunk_rows)]
        for index, layer in enumerate(self._layers or map(self._layer, range(self.config.layers))):
            last = index == self.config.layers - 1
            for i, plan in enumerate(plans):
                if plan.prefix is not None:
                    rows.restore_prefix(i, plan.prefix.layers[index], plan.shared)
            for start, stop in chunks:
                self._library.upsize_project(byref(layer), byref(batch), start, stop)
                if not last:
                    self._library.upsize_finish(byref(layer), byref(batch), start, stop)
                yield False
            for i, plan in enumerate(plans):
                if plan.keep:
                    kept[i].append(rows.copy_prefix(i, plan.keep))
        self._guard()  # prefixes outlive the batch
        self.prefixes.add(
            Prefix(p.ids[: p.keep], tuple(layers)) for p, layers in zip(plans, kept, strict=True) if layers
        )
        # In the last layer everything after keys and values is for the last rows alone.
        out = x[rows.ends]
        batch, _memory = rows.last().batch(out, angles, angles)
        self._library.upsize_finish(byref(layer), byref(batch), 0, len(out))
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
        """Between the space of the checkpoint and that of the int8 form: the turn is its own inverse."""
        if self.int8:
            self._library.upsize_turn(x.ctypes.data, len(x), self.config.hidden_size)

    def _layer(self, index: int) -> c.CLayer:
        name, config = f"layers.{index}.", self.config
        width = config.heads * config.head_dim

        def pointer(part: str) -> int:
            return self._packed[name + part].ctypes.data

        def matrix(part: str, inputs: int, outputs: int, group: int = GROUP) -> c.Matrix:
            scales = pointer(f"{part}.scales") if self.int8 else None
            return c.Matrix(pointer(f"{part}.panels"), scales, inputs, outputs, group, c.INT8 if self.int8 else c.BF16)

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
