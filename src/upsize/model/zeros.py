"""Holes in a weights file: runs of zero bytes that an interrupted download or a copy of a sparse file leaves.

A preallocated download that stops leaves zeros from one page of the file to another. Such a run begins or ends within
a row, for rows lie on pages by chance alone; values that training or pruning made zero are whole rows. So a run within
a row is refused, as is a tensor of zeros. Whole rows of zeros are logged and served.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from upsize.errors import CheckpointError
from upsize.model.stored_tensor import DTYPES, StoredTensor

log = logging.getLogger(__name__)

CELL = 512
"""Bytes of which one word is looked at before the others: a look at every word would take as long as a CRC."""
SHORTEST = 4 * CELL
"""Bytes of the shortest run in a matrix: half a page, of which any hole has that much on one side of a tensor's end."""
SHORTEST_VECTOR = 32
"""Values of the shortest run in a vector: the last page of a file may hold less than SHORTEST."""
SLACK = 8
"""Values that may be zero by chance beside a row of zeros."""
MOST = 1000
"""Runs that are kept for one tensor."""

Run = tuple[int, int]
"""First byte, and the one after the last, in a tensor."""


def runs_in(block: NDArray[np.uint8], start: int) -> list[Run]:
    """Runs of zero bytes in a block (bytes,) that begins at byte `start` of its tensor: all of at least two cells, and
    whatever run touches an end of the block, to be joined with the next block's."""
    size = len(block)
    words = block[: size // CELL * CELL].view(np.uint64).reshape(-1, CELL // 8)
    candidates = np.flatnonzero(words[:, 0] == 0)
    zero = candidates[~words[candidates].any(axis=1)]
    runs: list[Run] = []
    if len(zero):
        parts = np.split(zero, np.flatnonzero(np.diff(zero) > 1) + 1)
        runs = [(int(part[0]) * CELL, (int(part[-1]) + 1) * CELL) for part in parts if len(part) > 1]
    runs = [(a - _trailing(block[max(a - CELL, 0) : a]), b + _leading(block[b : b + CELL])) for a, b in runs]
    if not runs or runs[0][0] > 0:
        runs.insert(0, (0, _leading(block[: 2 * CELL])))
    if runs[-1][1] < size:
        runs.append((size - _trailing(block[-4 * CELL :]), size))
    return [(start + a, start + b) for a, b in runs if a < b]


def joined(runs: Iterable[Run], stored: StoredTensor) -> list[Run]:
    """The runs of one tensor's blocks, in order, joined where they touch; without short ones."""
    whole: list[Run] = []
    for a, b in runs:
        if whole and whole[-1][1] >= a:
            whole[-1] = whole[-1][0], max(b, whole[-1][1])
        else:
            whole.append((a, b))
    vector = SHORTEST_VECTOR * DTYPES[stored.dtype].itemsize if len(stored.shape) == 1 else SHORTEST
    least = min(vector, stored.bytes)
    found = [(a, b) for a, b in whole if b - a >= least]
    return sorted(found, key=lambda run: not _within_rows(run, stored))[:MOST]


def runs_in_vector(values: NDArray[np.uint8], stored: StoredTensor) -> list[Run]:
    """Runs of a tensor of one dimension, given as its bytes."""
    item = DTYPES[stored.dtype].itemsize
    there = np.flatnonzero(values.reshape(-1, item).any(axis=1))
    edges = np.concatenate([[-1], there, [values.size // item]])
    return [(int(edges[p] + 1) * item, int(edges[p + 1]) * item) for p in np.flatnonzero(np.diff(edges) > 1)]


def check_zeros(tensors: Mapping[str, StoredTensor], zeros: Mapping[str, Sequence[Run]]) -> None:
    """Raise CheckpointError for runs that mean a hole in the file; log rows of zeros. `zeros` are runs by tensor.

    Raises CheckpointError, naming file, tensor and bytes.
    """
    rows: list[str] = []
    for name, runs in sorted(zeros.items()):
        stored = tensors[name]
        for run in runs:
            if run[1] - run[0] == stored.bytes or _within_rows(run, stored):
                raise _hole(run, stored)
        if not _repeats(runs):
            found = [(-(-a // _width(stored)), b // _width(stored)) for a, b in runs]
            places = ", ".join(f"{a}" if b == a + 1 else f"{a} to {b - 1}" for a, b in found[:3])
            rows.append(f"{stored.stored_name} {places}{' and others' if len(found) > 3 else ''}")
    if rows:
        log.warning(
            "%s: rows of zeros alone: %s%s. Unused tokens and pruned units may have them; if this model should not, "
            "download it again",
            next(iter(tensors.values())).source.path.parent,
            "; ".join(rows[:3]),
            f"; and of {len(rows) - 3} more tensors" if len(rows) > 3 else "",
        )


def _hole(run: Run, stored: StoredTensor) -> CheckpointError:
    size = run[1] - run[0]
    place = "all of" if size == stored.bytes else f"from byte {stored.offset + run[0]:,} of the file on, within"
    return CheckpointError(
        stored.source.path,
        "weights without a hole",
        f"{size:,} bytes of zeros, {place} {stored.stored_name}: a download that was interrupted, or a sparse copy",
        "Download it again.",
    )


def _repeats(runs: Sequence[Run]) -> bool:
    """Whether runs of one length come at equal distances, as those of heads do whose last channels are unused."""
    lengths, distances = {b - a for a, b in runs}, {b[0] - a[0] for a, b in pairwise(runs)}
    return len(runs) > 3 and len(lengths) == len(distances) == 1


def _width(stored: StoredTensor) -> int:
    """Bytes of a row."""
    return stored.bytes // stored.shape[0] if len(stored.shape) > 1 else stored.bytes


def _within_rows(run: Run, stored: StoredTensor) -> bool:
    """Whether a run begins or ends within a row, by more than SLACK values."""
    width, slack = _width(stored), SLACK * int(DTYPES[stored.dtype].itemsize)
    return -run[0] % width > slack or run[1] % width > slack


def _leading(part: NDArray[np.uint8]) -> int:
    """Zero bytes at its beginning."""
    there = part != 0
    return int(there.argmax()) if there.any() else len(part)


def _trailing(part: NDArray[np.uint8]) -> int:
    """Zero bytes at its end."""
    return _leading(part[::-1])
