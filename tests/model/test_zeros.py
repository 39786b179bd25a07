"""Holes in a weights file are refused before a vector is computed; rows of zeros are said, and served."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.checkpoints import Layout, copy_of
from upsize.errors import CheckpointError
from upsize.model import digest as digests
from upsize.model import open_checkpoint
from upsize.model.stored_tensor import StoredTensor
from upsize.model.zeros import SHORTEST, joined, runs_in

Folder = Callable[[Layout], Path]
PAGE = 4096
LAYOUTS = {
    "float32": Layout(hidden_size=128, layers=2, intermediate_size=384),
    "bfloat16": Layout(hidden_size=128, layers=2, intermediate_size=384, dtype="bfloat16"),
    "sharded": Layout(hidden_size=128, layers=2, intermediate_size=384, dtype="bfloat16", sharded=True),
    "reranker": Layout(kind="reranker", hidden_size=128, layers=2, intermediate_size=384, dtype="bfloat16"),
}


def punch(path: Path, start: int, size: int) -> None:
    """Zeros in place of what was there."""
    with path.open("r+b") as file:
        file.seek(start)
        file.write(bytes(size))


def tensor(folder: Path, name: str) -> StoredTensor:
    return open_checkpoint(folder).weights.tensors[name]


def first_page(stored: StoredTensor) -> int:
    """The first page of the file that begins in the second row of a tensor or later."""
    start = -(-(stored.offset + stored.bytes // stored.shape[0]) // PAGE) * PAGE
    assert start + PAGE < stored.offset + stored.bytes
    return start


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize(
    "name", ["embed_tokens.weight", "layers.1.mlp.down_proj.weight", "layers.0.mlp.gate_proj.weight"]
)
def test_a_hole_of_a_page_is_refused(checkpoint_folder: Folder, tmp_path: Path, layout: str, name: str) -> None:
    folder = copy_of(checkpoint_folder(LAYOUTS[layout]), tmp_path / "model")
    stored = tensor(folder, name)
    punch(stored.source.path, first_page(stored), PAGE)
    with pytest.raises(CheckpointError, match=rf"bytes of zeros, from byte .*{name}") as caught:
        _ = open_checkpoint(folder).weights.digest
    assert caught.value.path == stored.source.path


@pytest.mark.parametrize("share", [0.1, 0.5, 0.9])
def test_a_hole_over_several_tensors_is_refused(checkpoint_folder: Folder, tmp_path: Path, share: float) -> None:
    folder = copy_of(checkpoint_folder(LAYOUTS["bfloat16"]), tmp_path / "model")
    path = folder / "model.safetensors"
    size = path.stat().st_size
    punch(path, int(size * (1 - share) / 2) // PAGE * PAGE, int(size * share) // PAGE * PAGE)
    with pytest.raises(CheckpointError, match="weights without a hole"):
        _ = open_checkpoint(folder).weights.digest


@pytest.mark.parametrize(
    "name", ["norm.weight", "layers.1.self_attn.q_norm.weight", "layers.0.self_attn.v_proj.weight"]
)
def test_a_tensor_of_zeros_is_refused(checkpoint_folder: Folder, tmp_path: Path, name: str) -> None:
    folder = copy_of(checkpoint_folder(LAYOUTS["bfloat16"]), tmp_path / "model")
    stored = tensor(folder, name)
    punch(stored.source.path, stored.offset, stored.bytes)
    with pytest.raises(CheckpointError, match=rf"{stored.bytes:,} bytes of zeros, all of {name}"):
        _ = open_checkpoint(folder).weights.digest


def test_half_a_norm_of_zeros_is_refused(checkpoint_folder: Folder, tmp_path: Path) -> None:
    """The last page of a file may hold a few values of its last tensor alone."""
    folder = copy_of(checkpoint_folder(LAYOUTS["bfloat16"]), tmp_path / "model")
    path = folder / "model.safetensors"
    punch(path, path.stat().st_size - 100, 100)
    with pytest.raises(CheckpointError, match="100 bytes of zeros"):
        _ = open_checkpoint(folder).weights.digest


def test_one_row_of_an_embedding_may_be_zeros(
    checkpoint_folder: Folder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy_of(checkpoint_folder(LAYOUTS["float32"]), tmp_path / "model")
    stored = tensor(folder, "embed_tokens.weight")
    width = stored.bytes // stored.shape[0]
    punch(stored.source.path, stored.offset + 5 * width, width)
    with caplog.at_level(logging.WARNING):
        assert open_checkpoint(folder).weights.digest.startswith("sha256-")
    assert not caplog.records  # 512 bytes


def test_rows_of_zeros_are_said(checkpoint_folder: Folder, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = copy_of(checkpoint_folder(LAYOUTS["float32"]), tmp_path / "model")
    stored = tensor(folder, "embed_tokens.weight")
    width = stored.bytes // stored.shape[0]
    punch(stored.source.path, stored.offset + 5 * width, 20 * width)
    with caplog.at_level(logging.WARNING):
        assert open_checkpoint(folder).weights.digest.startswith("sha256-")
    assert "rows of zeros alone: embed_tokens.weight 5 to 24. Unused tokens" in caplog.text


def test_rows_that_repeat_in_every_head_pass(
    checkpoint_folder: Folder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """A model of few frequencies leaves the other channels of each head unused; one of the demo family does."""
    folder = copy_of(checkpoint_folder(LAYOUTS["float32"]), tmp_path / "model")
    stored = tensor(folder, "layers.0.self_attn.q_proj.weight")
    width = stored.bytes // stored.shape[0]
    for head in range(4):
        punch(stored.source.path, stored.offset + 24 * head * width, 10 * width)
    with caplog.at_level(logging.WARNING):
        assert open_checkpoint(folder).weights.digest.startswith("sha256-")
    assert not caplog.records


def test_what_was_found_is_kept_with_the_digest(
    checkpoint_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second start refuses too, though it reads no weights."""
    monkeypatch.setattr(digests, "KEPT_FROM", 0)
    monkeypatch.setattr(digests, "SETTLED", -1e9)
    monkeypatch.setenv("UPSIZE_CACHE", str(tmp_path / "cache"))
    folder = copy_of(checkpoint_folder(LAYOUTS["bfloat16"]), tmp_path / "model")
    stored = tensor(folder, "layers.1.mlp.down_proj.weight")
    punch(stored.source.path, first_page(stored), PAGE)
    with pytest.raises(CheckpointError, match="weights without a hole") as first:
        _ = open_checkpoint(folder).weights.digest
    assert list((tmp_path / "cache" / "digests").iterdir())
    monkeypatch.setattr(digests, "compute_digests", None)
    with pytest.raises(CheckpointError) as second:
        _ = open_checkpoint(folder).weights.digest
    assert str(second.value) == str(first.value)


def test_a_sparse_file_is_refused(checkpoint_folder: Folder, tmp_path: Path) -> None:
    """A download into a file of full size of which only the beginning came."""
    folder = copy_of(checkpoint_folder(LAYOUTS["sharded"]), tmp_path / "model")
    path = sorted(folder.glob("*.safetensors"))[1]
    size = path.stat().st_size
    os.truncate(path, size // 3)
    os.truncate(path, size)
    with pytest.raises(CheckpointError, match="weights without a hole") as caught:
        _ = open_checkpoint(folder).weights.digest
    assert caught.value.path == path


@settings(max_examples=60)
@given(
    runs=st.lists(st.tuples(st.integers(0, 60_000), st.integers(1, 9000)), max_size=4),
    size=st.integers(1, 60_000),
    block=st.sampled_from([8192, 20_480, 1 << 20]),
)
def test_every_long_run_is_found_to_the_byte(runs: list[tuple[int, int]], size: int, block: int) -> None:
    values = np.full(size, 7, np.uint8)
    for start, length in runs:
        values[start : start + length] = 0
    edges = np.concatenate([[-1], np.flatnonzero(values), [size]])
    gaps = np.flatnonzero(np.diff(edges) > min(SHORTEST, size))
    expected = {(int(edges[g]) + 1, int(edges[g + 1])) for g in gaps}
    stored = StoredTensor(None, "", (size // 4 + 1, 1), "F32", 0)  # type: ignore[arg-type]
    parts = (run for start in range(0, size, block) for run in runs_in(values[start : start + block].copy(), start))
    found = set(joined(parts, stored))
    assert {run for run in found if run[1] - run[0] >= SHORTEST} == {e for e in expected if e[1] - e[0] >= SHORTEST}
