"""StoredTensor: where one tensor lies, and its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np
from ml_dtypes import bfloat16
from numpy.typing import NDArray

from upsize.model.weight_file import SourceFile

DTYPES = {"F32": np.dtype(np.float32), "BF16": np.dtype(bfloat16), "F16": np.dtype(np.float16)}
"""What safetensors calls them → what they are."""
Array = NDArray[Any]


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies."""

    source: SourceFile
    stored_name: str
    shape: tuple[int, ...]
    dtype: str
    """As safetensors writes it: `BF16`, `F16`, `F32`."""
    offset: int
    """Bytes before it in the file."""

    @property
    def bytes(self) -> int:
        """Its size in the file."""
        return int(DTYPES[self.dtype].itemsize) * prod(self.shape)

    def load(self) -> Array:
        """All values, in memory of their own. CheckpointError where the file is not as it was."""
        values = np.empty(self.shape, DTYPES[self.dtype])
        with self.source.opened() as descriptor:
            self.source.read_into(descriptor, bytes_of(values), self.offset)
        return values

    def rows(self, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
        """Rows of a matrix (outputs, inputs), in float32; only they are read."""
        values = np.empty((len(rows), *self.shape[1:]), DTYPES[self.dtype])
        width = self.bytes // self.shape[0]
        with self.source.opened() as descriptor:
            for place, row in enumerate(rows):
                self.source.read_into(descriptor, bytes_of(values[place]), self.offset + int(row) * width)
        return values.astype(np.float32)


def bytes_of(values: NDArray[np.generic]) -> memoryview:
    """The bytes of contiguous values, also of a type that buffers do not know."""
    return values.reshape(-1).view(np.uint8).data
