"""A resumable file of float32 rows: a run that was killed continues after the last rows that are on disk.

NAME.rows        float32 rows, end to end; bytes beyond the row count are ignored
NAME.json        number of valid rows, and the tokens and seconds that they cost; written after the rows are on disk
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from upsize.compute.contention import Contention
from upsize.io.atomic import write_atomic
from upsize.progress import ProgressBar

FLUSH_SECONDS = 2.0
"""Seconds of work that a kill may lose; chosen: an fsync takes milliseconds."""

Rows = NDArray[np.float32]


@dataclass(frozen=True)
class ComputeCost:
    """What computing the rows took."""

    rows: int = 0
    tokens: int = 0
    seconds: float = 0.0
    busy: float = 0.0
    """Greatest share of the processor that other processes took meanwhile, 0 to 1."""


class RowStore:
    """Rows of one width, (rows, width) float32."""

    def __init__(self, path: Path, width: int) -> None:
        self._rows, self._json, self._width = (
            path.with_name(path.name + ".rows"),
            path.with_name(path.name + ".json"),
            width,
        )
        self._rows.parent.mkdir(parents=True, exist_ok=True)
        self.cost = ComputeCost(**json.loads(self._json.read_bytes())) if self._json.exists() else ComputeCost()

    def fill(self, total: int, rows: Iterable[tuple[Rows, int]], *, label: str, unit: str, progress: bool) -> None:
        """Append blocks of (rows, tokens) until there are `total` rows. `rows` begins where this store ends. `unit` is
        the plural noun of the progress bar."""
        start = self.cost
        with (
            self._rows.open("ab") as file,
            ProgressBar(label, total=total, initial=start.rows, unit=unit, show=progress) as bar,
        ):
            file.truncate(start.rows * self._width * 4)
            count, tokens, began = start.rows, start.tokens, time.monotonic()
            last, contention = began, Contention()
            for block, used in rows:
                file.write(np.ascontiguousarray(block, np.float32).tobytes())
                count, tokens = count + len(block), tokens + used
                bar.update(len(block))
                now = time.monotonic()
                if now - last > FLUSH_SECONDS or count == total:
                    file.flush()
                    os.fsync(file.fileno())
                    self.cost = ComputeCost(
                        count, tokens, start.seconds + now - began, max(start.busy, contention.share())
                    )
                    write_atomic(self._json, json.dumps(asdict(self.cost)).encode())
                    last = now

    def read(self) -> Rows:
        """All rows, mapped: (rows, width)."""
        if not self.cost.rows:
            return np.empty((0, self._width), np.float32)
        return np.memmap(self._rows, np.float32, "r", shape=(self.cost.rows, self._width))
