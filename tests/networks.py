"""Ways to run a tiny network directly: with a chosen prefill chunk, in a chosen precision, without an engine."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from itertools import accumulate
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch

from upsize.compute import LoadedModel, load_model
from upsize.compute.pytorch import Backend, CpuBackend, Qwen3, tensor
from upsize.model import open_checkpoint
from upsize.model.pooling import Vectors

T = TypeVar("T")


def finish(steps: Generator[object, None, T]) -> T:
    """Run a paused computation to its end; its value."""
    while True:
        try:
            next(steps)
        except StopIteration as end:
            return end.value


def loaded(folder: Path, dtype: str = "float32") -> LoadedModel:
    """The checkpoint on the CPU."""
    return load_model(str(folder), device="cpu", dtype=dtype)


def network(folder: Path, backend: Backend | None = None, chunk_rows: int | None = None) -> Qwen3:
    """The checkpoint's network over `backend` (default: float32 on the CPU), in prefill chunks of `chunk_rows` rows."""
    backend = backend or CpuBackend(torch.float32, native_bfloat16=False)
    if chunk_rows is not None:
        backend.chunk_rows = chunk_rows
    checkpoint = open_checkpoint(folder)
    return Qwen3(checkpoint.config, lambda name: tensor(checkpoint.weights.load(name)), backend)


@torch.inference_mode()
def last_states(net: Qwen3, sequences: Sequence[Sequence[int]]) -> Vectors:
    """States (sequences, hidden) of the sequences packed into one batch."""
    ids = torch.tensor([i for s in sequences for i in s])
    return finish(net.forward(ids, [0, *accumulate(map(len, sequences))])).numpy()


def random_sequences(rng: np.random.Generator, count: int, longest: int, vocabulary: int = 640) -> list[list[int]]:
    """`count` sequences of 1 to `longest` random ids."""
    return [rng.integers(0, vocabulary, rng.integers(1, longest + 1)).tolist() for _ in range(count)]


def cosines(a: Vectors, b: Vectors) -> Vectors:
    """Cosine of each row of `a` with the same row of `b`."""
    return (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1)
