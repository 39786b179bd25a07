"""The layout of a packed batch: the slot of each row, and buffers for one layer's queries, keys and values."""

from __future__ import annotations

from collections.abc import Sequence
from copy import copy

import numpy as np
from numpy.typing import NDArray

from upsize.compute.native import library as c
from upsize.compute.native.prefix_cache import Prefix
from upsize.model.config import ModelConfig


class BatchLayout:
    """Sequences packed end to end. The rows of a batch are the tokens that the prefix cache lacks."""

    def __init__(self, config: ModelConfig, lengths: Sequence[int], cached: Sequence[int]) -> None:
        """`lengths` are in tokens; the first `cached[i]` tokens of sequence i come from the prefix cache."""
        starts = np.cumsum([0, *(-(-length // c.PANEL) * c.PANEL for length in lengths)])
        self._first_slots, self._slots = starts[:-1].tolist(), int(starts[-1])
        spans = [np.arange(a, b, dtype=np.int32) for a, b in zip(cached, lengths, strict=True)]
        self.positions = np.concatenate(spans)
        self.ends = np.cumsum([len(span) for span in spans]) - 1
        """Each sequence's last row."""
        self._first_slot = np.repeat(starts[:-1].astype(np.int32), [len(span) for span in spans])
        self._slot = self._first_slot + self.positions
        dim, kv_heads = config.head_dim, config.kv_heads
        self._queries = np.empty((len(self.positions), config.heads, dim), np.uint16)
        # The kernels multiply slots that are not written yet by a weight of 0, so they must be finite: zeros. The dtype
        # is uint16 because numpy has no bfloat16.
        self._keys = np.zeros((kv_heads, self._slots // c.PANEL, dim // 2, c.PANEL, 2), np.uint16)
        self._values = np.zeros((kv_heads, -(-dim // c.PANEL), self._slots // 2, c.PANEL, 2), np.uint16)

    def last(self) -> BatchLayout:
        """The layout of each sequence's last row alone, with the same keys and values."""
        chosen = copy(self)
        chosen._queries = self._queries[self.ends]
        chosen._first_slot, chosen._slot = self._first_slot[self.ends], self._slot[self.ends]
        return chosen

    def batch(
        self, hidden_states: NDArray[np.float32], cos: NDArray[np.float32], sin: NDArray[np.float32]
    ) -> tuple[c.CBatch, object]:
        """The structure for the library, and the arrays that must live as long as it does."""
        arrays = (hidden_states, self._queries, cos, sin, self._keys, self._values, self._first_slot, self._slot)
        return c.CBatch(*(a.ctypes.data for a in arrays), self._slots), arrays

    def restore_prefix(self, sequence: int, stored: Prefix.Layer, length: int) -> None:
        """Copy a cached prefix's keys and values of the first `length` tokens into a sequence's slots.

        The slots behind them stay zeros: they must hold nothing of another text, whose values may not be finite.
        """
        keys, values = self._parts(sequence, length)
        for panel in range(keys.shape[1]):
            columns = stored[0][:, :, panel * c.PANEL : min((panel + 1) * c.PANEL, length)]
            keys[:, panel, :, : columns.shape[2]] = columns
        pairs = length // 2
        values[:, :, :pairs] = stored[1][:, :, :pairs]
        if length % 2:
            values[:, :, pairs, :, 0] = stored[1][:, :, pairs, :, 0]

    def copy_prefix(self, sequence: int, length: int) -> Prefix.Layer:
        """A copy of the keys and values of a sequence's first `length` tokens, with the keys' panels joined."""
        keys, values = self._parts(sequence, length)
        heads, panels, pairs, *_ = keys.shape
        joined = keys.swapaxes(1, 2).reshape(heads, pairs, panels * c.PANEL, 2)
        return joined[:, :, :length].copy(), values.copy()

    def _parts(self, sequence: int, length: int) -> Prefix.Layer:
        start = self._first_slots[sequence]
        keys = self._keys[:, start // c.PANEL : (start + length - 1) // c.PANEL + 1]
        return keys, self._values[:, :, start // 2 : (start + length - 1) // 2 + 1]
