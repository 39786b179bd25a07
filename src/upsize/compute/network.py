"""The protocol of a network: what compiled kernels and torch have in common."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from upsize.model.pooling import Vectors

T = TypeVar("T")


class Network(Protocol):
    """Qwen3 without a head, over packed batches: `native.NativeQwen3` or `pytorch.TorchNetwork`."""

    compute_dtype: str
    """The dtype of matrix products. torch uses float32 on a CPU without bfloat16 instructions."""

    def forward(self, ids: NDArray[np.integer], cu: Sequence[int]) -> Generator[bool, None, Vectors]:
        """Each sequence's last hidden state after the final norm, (sequences, hidden) in float32.

        `ids` (tokens,) are the sequences end to end; sequence i is `ids[cu[i]:cu[i + 1]]`. The generator yields False
        at each yield point and True when all work is launched (a GPU may still be computing); closing it drops the
        batch. Raises MemoryError where the device's memory does not suffice.
        """

    def use_threads(self, count: int) -> None:
        """Use `count` of the process's threads from now on, where the network supports it."""


def run_to_end(steps: Generator[object, None, T]) -> T:
    """Run a generator to its end without regard to its yield points; return its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value
