"""A packed batch gives what its sequences give one at a time, whatever the prefill chunks."""

from __future__ import annotations

from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.networks import last_states, network, random_sequences
from upsize.compute.pytorch.qwen3 import ChunkBounds

RNG = np.random.default_rng(3)
SEQUENCES = random_sequences(RNG, 12, 70)


@pytest.fixture(scope="module")
def one_at_a_time(embedder_folder: Path) -> np.ndarray:
    net = network(embedder_folder)
    return np.concatenate([last_states(net, [s]) for s in SEQUENCES])


@pytest.mark.parametrize("chunk_rows", [1, 2, 7, 16, 64, 512])
def test_a_packed_batch_in_chunks_is_one_sequence_at_a_time(
    embedder_folder: Path, one_at_a_time: np.ndarray, chunk_rows: int
) -> None:
    states = last_states(network(embedder_folder, chunk_rows=chunk_rows), SEQUENCES)
    np.testing.assert_allclose(states, one_at_a_time, atol=1e-5)


@pytest.mark.parametrize("chunk_rows", [7, 16])
@pytest.mark.parametrize("length", [6, 7, 8, 14, 15, 16, 17, 33, 100])
def test_a_sequence_across_chunks_is_the_whole_one(embedder_folder: Path, chunk_rows: int, length: int) -> None:
    sequence = [RNG.integers(0, 640, length).tolist()]
    whole = last_states(network(embedder_folder, chunk_rows=512), sequence)
    np.testing.assert_allclose(last_states(network(embedder_folder, chunk_rows=chunk_rows), sequence), whole, atol=1e-5)


def test_every_token_and_their_order_matter(embedder_folder: Path) -> None:
    net = network(embedder_folder, chunk_rows=7)
    base = RNG.integers(0, 640, 20).tolist()
    changed = [[*base[:i], (base[i] + 1) % 640, *base[i + 1 :]] for i in range(20)]
    states = last_states(net, [base, base[::-1], *changed])
    differences = np.abs(states[1:] - states[0]).max(axis=1)
    assert differences.min() > 1e-3


def test_every_chunk_of_every_layer_ends_at_a_yield_point(embedder_folder: Path) -> None:
    net = network(embedder_folder, chunk_rows=16)
    with torch.inference_mode():
        steps = list(net.forward(torch.arange(40), [0, 40]))
    assert steps == [False] * 3 * 3


def test_it_can_be_dropped_at_a_pause(embedder_folder: Path) -> None:
    net = network(embedder_folder, chunk_rows=16)
    with torch.inference_mode():
        steps = net.forward(torch.arange(40), [0, 40])
        next(steps)
        steps.close()
        with pytest.raises(StopIteration):
            next(steps)


lengths = st.lists(st.integers(1, 30), min_size=1, max_size=8)


@given(lengths, st.integers(1, 40))
def test_chunks_cover_every_row_once_with_all_the_keys_it_sees(lengths: list[int], size: int) -> None:
    cu = [0, *accumulate(lengths)]
    seen = []
    for start in range(0, cu[-1], size):
        chunk = ChunkBounds.cut(cu, start, min(start + size, cu[-1]))
        assert chunk.cu_q[0] == chunk.cu_k[0] == 0
        assert chunk.cu_q[-1] == chunk.stop - chunk.start
        assert chunk.cu_k[-1] == chunk.stop - chunk.first_key
        for q0, q1, k0, k1 in zip(chunk.cu_q, chunk.cu_q[1:], chunk.cu_k, chunk.cu_k[1:], strict=False):
            first, last = chunk.start + q0, chunk.start + q1
            assert q0 < q1, "no empty pieces"
            assert chunk.first_key + k0 in cu[:-1], "keys begin where a sequence begins"
            assert chunk.first_key + k1 == last, "queries stand at the end of their keys"
            assert chunk.first_key + k0 <= first
            assert not any(first < bound < last for bound in cu), "a piece is of one sequence"
            assert not any(chunk.first_key + k0 < bound < last for bound in cu), "and so are its keys"
            seen += range(first, last)
    assert seen == list(range(cu[-1]))
