"""Network: what compiled kernels and torch have in common, as the rest of the house sees it."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from upsize.model.pooling import Vectors

T = TypeVar("T")


class Network(Protocol):
    """Qwen3 without its head, packed: `native.NativeQwen3` or `pytorch.TorchNetwork`."""

    compute_dtype: str
    """What products are computed in; in torch, on a CPU without bfloat16 products, that is float32."""

    def forward(self, ids: NDArray[np.integer], cu: Sequence[int]) -> Generator[bool, None, Vectors]:
        """Last states after the final norm, (sequences, hidden) in float32, of the sequences laid end to end in `ids`
        and bounded by `cu`. Pauses between slabs, at last with True: all is launched."""

    def use_threads(self, count: int) -> None:
        """Compute on so many of the process's threads from now on, if that can be."""


def run_to_end(steps: Generator[object, None, T]) -> T:
    """Run a paused computation to its end, whatever waits; its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            value: T = end.value
            return value
