"""CUDA graphs for small batches: one graph is the whole network, because launching its kernels takes longer than
running them.

A graph has fixed shapes, so one is captured for each pair of sizes, the next above a batch's rows and sequences, when
the first such batch comes. Rows after the last sequence belong to no sequence: nothing attends to them and no result
uses them.
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
"""Sizes of captured graphs. Above 32 rows a batch leaves at most a third of its graph's rows unused."""


@dataclass(frozen=True)
class CapturedGraph:
    """A CUDA graph with its inputs and its output."""

    graph: torch.cuda.CUDAGraph
    inputs: Tensor
    """int32: token ids, positions, bounds of sequences, rows of their last tokens."""
    batch: PackedBatch
    """The batch over `inputs`. The graph knows its tensors by address only, so this reference keeps them alive."""
    hidden_states: Tensor


class Graphs:
    """The CUDA graphs of a network, captured on first use."""

    def __init__(self, network: Qwen3) -> None:
        self._network = network
        self._captured: dict[tuple[int, int], CapturedGraph] = {}
        self._pool = torch.cuda.graph_pool_handle()

    @staticmethod
    def fits(tokens: int, sequences: int) -> bool:
        """Whether a batch is small enough for a graph."""
        return tokens <= ROWS[-1] and sequences <= SEQUENCES[-1]

    def run(self, ids: NDArray[np.integer], cu: Sequence[int]) -> Tensor:
        """Launch a batch. Returns its hidden states (sequences, hidden) in float32, which no later batch overwrites."""
        count = len(cu) - 1
        rows, max_sequences = ROWS[bisect_left(ROWS, len(ids))], SEQUENCES[bisect_left(SEQUENCES, count)]
        captured = self._captured.get((rows, max_sequences)) or self._capture(rows, max_sequences)
        host = np.zeros(len(captured.inputs), np.int32)
        tokens, positions, bounds, last = np.split(host, np.cumsum([rows, rows, max_sequences + 1]))
        tokens[: len(ids)] = ids
        positions[: len(ids)] = np.concatenate([np.arange(b - a) for a, b in pairwise(cu)])
        bounds[:], bounds[: count + 1] = cu[-1], cu  # unused sequences are empty
        last[:count] = np.asarray(cu[1:]) - 1
        captured.inputs.copy_(torch.from_numpy(host))
        captured.graph.replay()
        return captured.hidden_states[:count].clone()

    def _capture(self, rows: int, max_sequences: int) -> CapturedGraph:
        device = self._network.backend.device
        inputs = torch.zeros(2 * rows + 2 * max_sequences + 1, dtype=torch.int32, device=device)
        batch = _packed(inputs, rows, max_sequences)
        side = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]
        side.wait_stream(torch.cuda.current_stream(device))
        with torch.cuda.stream(side):
            run_to_end(self._network.run(batch))  # compiles kernels and allocates workspaces, which a capture must not
        torch.cuda.current_stream(device).wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        # The default stream may be another GPU's. Another thread may load a model meanwhile, hence thread_local.
        with torch.cuda.graph(graph, pool=self._pool, stream=side, capture_error_mode="thread_local"):
            hidden_states = run_to_end(self._network.run(batch))
        captured = self._captured[rows, max_sequences] = CapturedGraph(graph, inputs, batch, hidden_states)
        return captured


def _packed(inputs: Tensor, rows: int, max_sequences: int) -> PackedBatch:
    """A batch of one prefill chunk over a graph's inputs."""
    ids, positions, bounds, last = torch.split(inputs, [rows, rows, max_sequences + 1, max_sequences])
    one_query = torch.arange(max_sequences + 1, dtype=torch.int32, device=inputs.device)
    chunk_bounds = AttentionBounds((), (), (bounds, bounds), (rows, rows))
    last_bounds = AttentionBounds((), (), (one_query, bounds), (1, rows))
    return PackedBatch(ids, positions, (PrefillChunk(0, rows, 0, chunk_bounds, last),), last, last_bounds)
