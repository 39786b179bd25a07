"""Small batches on a GPU: the whole network as one CUDA graph, for launching its kernels takes longer than they do.

A graph has fixed shapes. So it is captured for a number of rows and of sequences, the next above a batch's, when one
first comes. Rows past the last sequence belong to none: nothing attends to them and no state is taken from them.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from upsize.compute.network import run_to_end
from upsize.compute.pytorch.qwen3 import AttentionBounds, PackedBatch, PrefillChunk, Qwen3

ROWS = 32, 48, 64, 96, 128, 192, 256, 384, 512
SEQUENCES = 1, 8, 64


@dataclass(frozen=True)
class CapturedGraph:
    """A graph, what it reads and what it writes."""

    graph: torch.cuda.CUDAGraph
    inputs: Tensor
    """int32: ids, positions, bounds of sequences, rows of their last tokens."""
    batch: PackedBatch
    """Over the inputs. The graph knows its tensors by their addresses alone, so they are kept here."""
    states: Tensor


class Graphs:
    """Graphs of a network, captured as they are wanted."""

    def __init__(self, network: Qwen3) -> None:
        self._network = network
        self._captured: dict[tuple[int, int], CapturedGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()

    @staticmethod
    def take(tokens: int, sequences: int) -> bool:
        """Whether a batch is small enough."""
        return tokens <= ROWS[-1] and sequences <= SEQUENCES[-1]

    def run(self, ids: NDArray[np.integer], cu: Sequence[int]) -> Tensor:
        """Launch a batch; its states (sequences, hidden) in float32, which no later batch touches."""
        count = len(cu) - 1
        rows, room = ROWS[bisect_left(ROWS, len(ids))], SEQUENCES[bisect_left(SEQUENCES, count)]
        captured = self._captured.get((rows, room)) or self._capture(rows, room)
        host = np.zeros(len(captured.inputs), np.int32)
        tokens, positions, bounds, last = np.split(host, np.cumsum([rows, rows, room + 1]))
        tokens[: len(ids)] = ids
        positions[: len(ids)] = np.concatenate([np.arange(b - a) for a, b in pairwise(cu)])
        bounds[:], bounds[: count + 1] = cu[-1], cu  # sequences that are not there are empty
        last[:count] = np.asarray(cu[1:]) - 1
        captured.inputs.copy_(torch.from_numpy(host))
        captured.graph.replay()
        return captured.states[:count].clone()

    def _capture(self, rows: int, room: int) -> CapturedGraph:
        device = self._network.backend.device
        inputs = torch.zeros(2 * rows + 2 * room + 1, dtype=torch.int32, device=device)
        batch = _packed(inputs, rows, room)
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            run_to_end(self._network.run(batch))  # compiles kernels and takes workspaces, which no capture may
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # The stream is of this GPU, as the default need not be; another thread may be loading a model meanwhile.
        with torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
            states = run_to_end(self._network.run(batch))
        captured = self._captured[rows, room] = CapturedGraph(graph, inputs, batch, states)
        return captured


def _packed(inputs: Tensor, rows: int, room: int) -> PackedBatch:
    """A batch of one slab over the inputs of a graph."""
    ids, positions, bounds, last = torch.split(inputs, [rows, rows, room + 1, room])
    each = torch.arange(room + 1, dtype=torch.int32, device=inputs.device)
    whole, ends = (
        AttentionBounds((), (), (bounds, bounds), (rows, rows)),
        AttentionBounds((), (), (each, bounds), (1, rows)),
    )
    return PackedBatch(ids, positions, (PrefillChunk(0, rows, 0, whole, last),), last, ends)
