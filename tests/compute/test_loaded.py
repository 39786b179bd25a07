"""A loaded model runs packed batches, yields between steps, and reports when memory does not suffice."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
import torch

from tests.checkpoints import Layout
from tests.networks import finish, last_states, loaded, network
from upsize.compute import LoadedModel
from upsize.errors import OutOfMemory

Folder = Callable[[Layout], Path]
SEQUENCES = [np.arange(5, dtype=np.int32), np.arange(40, 49, dtype=np.int32)]


@pytest.fixture(scope="module")
def embedder(embedder_folder: Path) -> LoadedModel:
    return loaded(embedder_folder)


def test_an_embedder_gives_last_states(embedder: LoadedModel, embedder_folder: Path) -> None:
    values = finish(embedder.run(SEQUENCES))
    assert (values.shape, values.dtype) == ((2, 64), np.float32)
    expected = last_states(network(embedder_folder), [s.tolist() for s in SEQUENCES])
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_a_reranker_gives_log_odds(reranker_folder: Path) -> None:
    values = finish(loaded(reranker_folder).run(SEQUENCES))
    assert (values.shape, values.dtype) == ((2,), np.float32)


def test_its_last_yield_point_says_that_all_is_launched(embedder: LoadedModel) -> None:
    assert list(embedder.run(SEQUENCES)) == [False, False, False, True]


def test_it_keeps_no_graph_and_may_be_run_from_any_thread(embedder: LoadedModel) -> None:
    before = torch.is_grad_enabled()
    finish(embedder.run(SEQUENCES))
    assert torch.is_grad_enabled() == before


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory."),
        MemoryError(),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] . DefaultCPUAllocator: can't allocate memory: you tried …"),
    ],
)
def test_memory_that_does_not_suffice_is_out_of_memory(embedder: LoadedModel, error: Exception) -> None:
    with (
        patch.object(embedder._network._network, "forward", side_effect=error),  # type: ignore[attr-defined]
        pytest.raises(OutOfMemory, match="A batch of 14 tokens did not fit into the memory of cpu"),
    ):
        finish(embedder.run(SEQUENCES))


def test_another_error_stays_what_it_is(embedder: LoadedModel) -> None:
    with (
        patch.object(embedder._network._network, "forward", side_effect=RuntimeError("shapes")),
        pytest.raises(RuntimeError, match="shapes"),
    ):
        finish(embedder.run(SEQUENCES))


def test_the_fingerprint_tells_what_shaped_the_vectors(checkpoint_folder: Folder, embedder: LoadedModel) -> None:
    space = embedder.fingerprint
    assert (space.dimension, space.max_length, space.dtype) == (64, 1024, "float32")
    assert (space.pooling, space.normalized, space.quantization) == ("last-token", True, "none")
    assert loaded(checkpoint_folder(Layout(sharded=True, prefixed=True))).fingerprint == space
    others = (Layout(seed=1), Layout(end_rule=False), Layout(kind="reranker"), Layout(dtype="bfloat16"))
    assert all(loaded(checkpoint_folder(other)).fingerprint != space for other in others)
    assert loaded(checkpoint_folder(Layout()), "bfloat16").fingerprint != space
