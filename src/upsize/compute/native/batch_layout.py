"""Rows: where each row of a batch stands, and one layer's queries, keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from upsize.compute.native import library as c
from upsize.compute.native.prefix_cache import Prefix
from upsize.model.config import ModelConfig


class BatchLayout:
    """Sequences of given lengths laid end to end, each without its first `shared` tokens, whose keys are recalled."""

    def __init__(self, config: ModelConfig, lengths: Sequence[int], shared: Sequence[int]) -> None:
        starts = np.cumsum([0, *(-(-length // c.PANEL) * c.PANEL for length in lengths)])
        self._first_slots, self._slots = starts[:-1].tolist(), int(starts[-1])
        spans = [np.arange(a, b, dtype=np.int32) for a, b in zip(shared, lengths, strict=True)]
        self.positions = np.concatenate(spans)
        self.ends = np.cumsum([len(span) for span in spans]) - 1
        """Each sequence's last row."""
        self._first = np.repeat(starts[:-1].astype(np.int32), [len(span) for span in spans])
        self._slot = self._first + self.positions
        dim, kv_heads = config.head_dim, config.kv_heads
        self._queries = np.empty((len(self.positions), config.heads, dim), np.uint16)
        # Zeros, for what is not there yet is multiplied by a weight of 0. The bits of bfloat16, as numpy has none.
        self._keys = np.zeros((kv_heads, self._slots // c.PANEL, dim // 2, c.PANEL, 2), np.uint16)
        self._values = np.zeros((kv_heads, -(-dim // c.PANEL), self._slots // 2, c.PANEL, 2), np.uint16)

    def last(self) -> BatchLayout:
        """The last row of each sequence, before the same keys and values."""
        chosen = copy(self)
        chosen._queries, chosen._first, chosen._slot = (a[self.ends] for a in (self._queries, self._first, self._slot))
        return chosen

    def batch(
        self, states: NDArray[np.float32], cos: NDArray[np.float32], sin: NDArray[np.float32]
    ) -> tuple[c.CBatch, object]:
        """For the library, and what must be kept as long."""
        arrays = (states, self._queries, cos, sin, self._keys, self._values, self._first, self._slot)
        return c.CBatch(*(a.ctypes.data for a in arrays), self._slots), arrays

    def restore_prefix(self, sequence: int, stored: Prefix.Layer, length: int) -> None:
        """Put keys and values of the first `length` tokens before a sequence's own.

        No more than these: nothing of another text stays behind them, not even to be multiplied by 0.
        """
        keys, values = self._parts(sequence, length)
        for panel in range(keys.shape[1]):
            some = stored[0][:, :, panel * c.PANEL : min((panel + 1) * c.PANEL, length)]
            keys[:, panel, :, : some.shape[2]] = some
        pairs = length // 2
        values[:, :, :pairs] = stored[1][:, :, :pairs]
        if length % 2:
            values[:, :, pairs, :, 0] = stored[1][:, :, pairs, :, 0]

    def copy_prefix(self, sequence: int, length: int) -> Prefix.Layer:
        """A copy of the keys and values of a sequence's first tokens, the keys' panels joined."""
        keys, values = self._parts(sequence, length)
        heads, panels, pairs, *_ = keys.shape
        joined = keys.swapaxes(1, 2).reshape(heads, pairs, panels * c.PANEL, 2)
        return joined[:, :, :length].copy(), values.copy()

    def _parts(self, sequence: int, length: int) -> Prefix.Layer:
        start = self._first_slots[sequence]
        keys = self._keys[:, start // c.PANEL : (start + length - 1) // c.PANEL + 1]
        return keys, self._values[:, :, start // 2 : (start + length - 1) // 2 + 1]
