"""The native network against the torch one, and against itself: batches, prefill chunks, levels, cached prefixes."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoints import Layout
from tests.networks import finish, last_states, network, random_sequences
from upsize.compute.native import NativeQwen3
from upsize.compute.native.packing import LayerAtATime, packed_arrays
from upsize.compute.native.qwen3 import prefill_chunk_rows
from upsize.compute.quantization_fidelity import centred_cosine
from upsize.model import open_checkpoint
from upsize.model.pooling import Vectors

Folder = Callable[[Layout], Path]
LAYOUTS = {
    "tiny": Layout(),
    "odd": Layout(hidden_size=160, heads=8, kv_heads=2, head_dim=72, intermediate_size=200),
    "bfloat16 on disk": Layout(dtype="bfloat16"),
}
LEAST = {"int8": 0.99, "bfloat16": 0.9998}
"""Centred cosine with float32 of the worst text, on networks as small as these and with as large outlier channels."""


def native(
    folder: Path, precision: str, prefix_cache_bytes: int = 0, chunk_rows: int = 512, threads: int = 1
) -> NativeQwen3:
    checkpoint = open_checkpoint(folder)
    load = checkpoint.weights.load
    arrays = dict(packed_arrays(checkpoint.config, load, precision))
    return NativeQwen3(
        checkpoint.config, arrays, load("embed_tokens.weight"), precision, threads, chunk_rows, prefix_cache_bytes
    )


def states(net: NativeQwen3, sequences: Sequence[Sequence[int]]) -> Vectors:
    ids = np.array([i for s in sequences for i in s], np.int32)
    return finish(net.forward(ids, [0, *accumulate(map(len, sequences))]))


def some(seed: int, lengths: Sequence[int]) -> list[list[int]]:
    rng = np.random.default_rng(seed)
    return [rng.integers(0, 640, n).tolist() for n in lengths]


@pytest.mark.parametrize("precision", LEAST)
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_states_are_those_of_the_torch_network(
    built: ctypes.CDLL, level: str, checkpoint_folder: Folder, layout: Layout, precision: str
) -> None:
    folder = checkpoint_folder(layout)
    sequences = some(1, (1, 2, 5, 24, 25, 63, 64, 65, 130, 333))
    expected = last_states(network(folder), sequences)
    assert centred_cosine(states(native(folder, precision), sequences), expected) >= LEAST[precision]


@pytest.mark.parametrize("precision", LEAST)
def test_one_layer_at_a_time_is_the_same_network(built: ctypes.CDLL, checkpoint_folder: Folder, precision: str) -> None:
    checkpoint = open_checkpoint(folder := checkpoint_folder(Layout()))
    config, load, sequences = checkpoint.config, checkpoint.weights.load, some(7, (3, 80))
    once = NativeQwen3(config, LayerAtATime(config, load, precision), load("embed_tokens.weight"), precision, 1, 512, 0)
    for _ in range(2):
        np.testing.assert_array_equal(states(once, sequences), states(native(folder, precision), sequences))


@pytest.mark.parametrize("precision", LEAST)
def test_a_text_is_the_same_to_the_bit_whatever_its_batch_mates(
    built: ctypes.CDLL, checkpoint_folder: Folder, precision: str
) -> None:
    net = native(checkpoint_folder(Layout()), precision)
    rng = np.random.default_rng(2)
    for _ in range(20):
        batch = random_sequences(rng, rng.integers(2, 9), int(rng.choice([4, 40, 300])))
        np.testing.assert_array_equal(states(net, batch)[-1], states(net, batch[-1:])[0])


@pytest.mark.parametrize("precision", LEAST)
@pytest.mark.parametrize(
    "layout", [Layout(), Layout(hidden_size=256, intermediate_size=512)], ids=["small", "parallel"]
)
@pytest.mark.parametrize(("chunk_rows", "threads"), [(7, 1), (40, 2), (100, 2), (512, 3)])
def test_neither_chunks_nor_threads_change_a_bit(
    built: ctypes.CDLL, checkpoint_folder: Folder, precision: str, chunk_rows: int, threads: int, layout: Layout
) -> None:
    folder, sequences = checkpoint_folder(layout), some(3, (700, 9, 1, 300))
    expected = states(native(folder, precision), sequences)
    net = native(folder, precision, chunk_rows=chunk_rows, threads=threads)
    found = [states(net, sequences)]
    for used in (1, threads - 1, threads + 5, 0):
        net.use_threads(used)
        found.append(states(net, sequences))
    built.upsize_set_threads(1)
    for states_found in found:
        np.testing.assert_array_equal(states_found, expected)


def test_a_preempted_batch_continues_unchanged(built: ctypes.CDLL, checkpoint_folder: Folder) -> None:
    net = native(checkpoint_folder(Layout()), "int8", prefix_cache_bytes=1 << 24, chunk_rows=16)
    long, short = some(4, (100, 20))
    expected = states(net, [long]), states(net, [short])
    steps = net.forward(np.array(long), [0, 100])
    for _ in range(5):
        assert next(steps) is False
    np.testing.assert_array_equal(states(net, [short]), expected[1])
    np.testing.assert_array_equal(finish(steps), expected[0])


@pytest.mark.parametrize("precision", LEAST)
def test_cached_prefixes_change_no_bit(built: ctypes.CDLL, checkpoint_folder: Folder, precision: str) -> None:
    folder = checkpoint_folder(Layout())
    instruction, query = some(5, (19, 70))
    texts = [instruction + t for t in some(6, (1, 5, 30, 64, 200))]
    texts += [instruction + query + t for t in some(7, (3, 90, 9))] + [query[:40], instruction]
    expected = states(native(folder, precision), texts)
    net = native(folder, precision, prefix_cache_bytes=1 << 24)
    for _ in range(3):
        np.testing.assert_array_equal(states(net, texts), expected)
        np.testing.assert_array_equal(np.concatenate([states(net, [t]) for t in texts]), expected)


def test_a_text_that_is_not_finite_affects_no_other(built: ctypes.CDLL, checkpoint_folder: Folder) -> None:
    folder = checkpoint_folder(Layout())
    net = native(folder, "bfloat16", prefix_cache_bytes=1 << 24)
    spoiled = net._embedding.copy()
    spoiled[7] = np.nan
    net._embedding = spoiled
    good, bad = [1, 2, 3, 4, 5, 6, 8, 9, 10, 11], [1, 2, 3, 4, 5, 6, 8, 9, 10, 7, 7, 7]
    alone = states(net, [good])
    for _ in range(3):
        found = states(net, [bad, good, bad, good])
        assert not np.isfinite(found[[0, 2]]).any()
        np.testing.assert_array_equal(found[[1, 3]], np.repeat(alone, 2, 0))


@pytest.mark.parametrize(("layers", "rows"), [(2, 128), (4, 128), (10, 256), (28, 512), (36, 512)])
def test_a_deep_network_has_larger_chunks(layers: int, rows: int) -> None:
    assert prefill_chunk_rows(layers) == rows
