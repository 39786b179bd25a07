"""Weights are read as they are stored, nothing done to their file reaches them, and a digest sees values, not files."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from tests.checkpoints import Layout, copy_of, network, write_checkpoint
from upsize.errors import CheckpointError
from upsize.model import open_checkpoint
from upsize.model.weights import Weights

Folder = Callable[[Layout], Path]


def weights(folder: Path) -> Weights:
    return open_checkpoint(folder).weights


def test_tensors_are_the_stored_ones_under_their_bare_names(checkpoint_folder: Folder) -> None:
    expected = network(Layout())
    for layout in (Layout(), Layout(kind="reranker", sharded=True)):
        found = weights(checkpoint_folder(layout))
        assert set(found.tensors) == set(expected)
        assert found.prefixed == (layout.kind == "reranker")
        assert all(np.array_equal(found.load(name), tensor.numpy()) for name, tensor in expected.items())


def test_rows_are_some_rows_in_float32(checkpoint_folder: Folder) -> None:
    found = weights(checkpoint_folder(Layout(dtype="bfloat16"))).rows("embed_tokens.weight", (5, 2))
    np.testing.assert_array_equal(found, network(Layout())["embed_tokens.weight"][[5, 2]].numpy())


def test_bytes_are_those_on_disk(checkpoint_folder: Folder) -> None:
    numbers = sum(t.numel() for t in network(Layout()).values())
    assert weights(checkpoint_folder(Layout())).bytes == 4 * numbers
    assert weights(checkpoint_folder(Layout(dtype="bfloat16"))).bytes == 2 * numbers


def test_the_digest_is_blind_to_files_and_prefixes(checkpoint_folder: Folder) -> None:
    layouts = [Layout(), Layout(sharded=True), Layout(prefixed=True), Layout(kind="reranker"), Layout(tied=False)]
    assert len({weights(checkpoint_folder(layout)).digest for layout in layouts}) == 1


def test_the_digest_sees_other_values_types_and_heads(checkpoint_folder: Folder) -> None:
    layouts = [Layout(), Layout(seed=1), Layout(dtype="bfloat16"), Layout(kind="reranker", score_head=True)]
    assert len({weights(checkpoint_folder(layout)).digest for layout in layouts}) == 4


@pytest.mark.parametrize("name", ["norm.weight", "layers.2.mlp.down_proj.weight", "embed_tokens.weight"])
def test_the_digest_sees_a_tensor_that_was_trained_on(embedder_folder: Path, tmp_path: Path, name: str) -> None:
    folder = copy_of(embedder_folder, tmp_path / "trained")
    path = folder / "model.safetensors"
    tensors = {n: t.clone() for n, t in load_file(path).items()}
    save_file(tensors | {name: tensors[name] * 1.001}, path)
    assert weights(folder).digest != weights(embedder_folder).digest


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_every_type_is_read_and_can_be_written_to_without_changing_the_file(
    checkpoint_folder: Folder, dtype: Literal["float32", "bfloat16", "float16"]
) -> None:
    found, stored = weights(checkpoint_folder(Layout(dtype=dtype))), network(Layout())["norm.weight"].numpy()
    loaded = found.load("norm.weight")
    assert loaded.dtype.name == dtype
    np.testing.assert_array_equal(loaded.astype(np.float32), stored.astype(loaded.dtype).astype(np.float32))
    loaded[:] = 0
    assert found.load("norm.weight").any()


@pytest.mark.parametrize("damage", ["gone", "cut"])
def test_a_file_that_breaks_after_it_was_opened_is_named(embedder_folder: Path, tmp_path: Path, damage: str) -> None:
    folder = copy_of(embedder_folder, tmp_path / "broken")
    found, path = weights(folder), folder / "model.safetensors"
    if damage == "gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-1000])
    with pytest.raises(CheckpointError, match=r"model\.safetensors: expected .*(no such file|cut off)"):
        [found.load(name) for name in found.tensors]


MEASURE = """
import sys, resource
from upsize.compute import load_model
from tests.networks import finish
import numpy as np
def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
small, large = sys.argv[1:]
finish(load_model(small, device="cpu").run([np.arange(32, dtype=np.int32)]))
before = peak()
model = load_model(large, device="cpu")
finish(model.run([np.arange(32, dtype=np.int32)]))
print(peak() - before, model.plan.precision)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads the peak of resident memory as Linux counts it")
def test_loading_and_running_takes_no_more_memory_than_the_files(checkpoint_folder: Folder, tmp_path: Path) -> None:
    shape = {"hidden_size": 1024, "intermediate_size": 3072, "layers": 6, "heads": 16, "kv_heads": 8, "head_dim": 128}
    large = write_checkpoint(tmp_path / "large", Layout(dtype="bfloat16", sharded=True, **shape))
    size = sum(p.stat().st_size for p in large.glob("*.safetensors"))
    assert size > 180e6
    small = checkpoint_folder(Layout(dtype="bfloat16"))
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(small), str(large)],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True, timeout=100,
    )  # fmt: skip
    peak, precision = done.stdout.split()
    assert precision == "bfloat16"
    assert int(peak) <= 1.1 * size
