"""StoredTensor: the location of one tensor, and its values."""

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
"""safetensors' type name → numpy type."""
Array = NDArray[Any]


@dataclass(frozen=True)
class StoredTensor:
    """The location of one tensor."""

    source: SourceFile
    stored_name: str
    shape: tuple[int, ...]
    dtype: str
    """safetensors' name: `BF16`, `F16`, `F32`."""
    offset: int
    """Its offset in the file in bytes."""

    @property
    def bytes(self) -> int:
        """Its size in the file in bytes."""
        return int(DTYPES[self.dtype].itemsize) * prod(self.shape)

    def load(self) -> Array:
        """Return a copy of all values. Raises CheckpointError if the file changed."""
        values = np.empty(self.shape, DTYPES[self.dtype])
        with self.source.opened() as descriptor:
            self.source.read_into(descriptor, bytes_of(values), self.offset)
        return values

    def rows(self, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
        """Return some rows of a matrix (outputs, inputs) in float32, and read only these."""
        values = np.empty((len(rows), *self.shape[1:]), DTYPES[self.dtype])
        width = self.bytes // self.shape[0]
        with self.source.opened() as descriptor:
            for place, row in enumerate(rows):
                self.source.read_into(descriptor, bytes_of(values[place]), self.offset + int(row) * width)
        return values.astype(np.float32)


def bytes_of(values: NDArray[np.generic]) -> memoryview:
    """Return the bytes of contiguous values, also of a type without buffer support."""
    return values.reshape(-1).view(np.uint8).data
