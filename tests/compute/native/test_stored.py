"""Packed weights on disk: written once, and again when damaged; the fidelity of int8 is measured once and must do."""

from __future__ import annotations

import ctypes
import logging
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16
from safetensors.numpy import load_file, save_file

from tests.checkpoints import Layout, copy_of
from tests.networks import finish
from upsize.compute import load_model
from upsize.compute import loaded_model as loaded
from upsize.compute.native import packed_weights as stored
from upsize.compute.native.packed_weights import stored_arrays
from upsize.compute.quantization_fidelity import centred_cosine
from upsize.errors import CheckpointError, WeightsDamaged

Folder = Callable[[Layout], Path]
ARRAYS = {
    "bytes": np.arange(7, dtype=np.uint8),
    "tokens": np.arange(12).reshape(4, 3).astype(bfloat16),
    "panels": np.arange(24, dtype=np.uint16).reshape(2, 3, 4),
    "scales": np.linspace(0, 1, 5, dtype=np.float32),
}


class Made:
    """Counts how often the arrays were made."""

    count = 0

    def __call__(self) -> Iterator[tuple[str, np.ndarray]]:
        self.count += 1
        yield from ARRAYS.items()


def same(found: object) -> bool:
    assert isinstance(found, dict)
    return found.keys() == ARRAYS.keys() and all(
        np.array_equal(found[n], a) and found[n].dtype == a.dtype for n, a in ARRAYS.items()
    )


def test_written_once_and_mapped_on_lines_of_the_cache(tmp_path: Path) -> None:
    make, path = Made(), tmp_path / "deep" / "a.packed"
    assert same(stored_arrays(path, make))
    again = stored_arrays(path, make)
    assert same(again)
    assert make.count == 1
    assert all(a.ctypes.data % 64 == 0 for a in again.values())
    assert [p.name for p in path.parent.iterdir()] == ["a.packed"]


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 200, b"x" * 200 + (50).to_bytes(8, "little")])
def test_a_broken_file_is_made_anew(tmp_path: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.packed"
    path.write_bytes(content)
    assert same(stored_arrays(path, Made()))
    assert "written anew" in caplog.text
    assert same(stored_arrays(path, Made()))


@settings(max_examples=40)
@given(place=st.integers(0, 10**9), bit=st.integers(0, 7))
def test_a_flipped_bit_never_gives_other_values(
    written: bytes, tmp_path_factory: pytest.TempPathFactory, place: int, bit: int
) -> None:
    content = bytearray(written)
    place %= len(content)
    content[place] ^= 1 << bit
    path, make = tmp_path_factory.getbasetemp() / "flipped.packed", Made()
    path.write_bytes(content)
    assert same(stored_arrays(path, make))
    if make.count:
        assert path.read_bytes() == written
    else:  # between two arrays, where nothing is read
        assert written[place] == 0


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("whole") / "a.packed"
    stored_arrays(path, Made())
    return path.read_bytes()


@pytest.mark.parametrize("length", range(0, 300, 23))
def test_a_file_that_was_cut_is_made_anew(written: bytes, tmp_path: Path, length: int) -> None:
    path, make = tmp_path / "a.packed", Made()
    path.write_bytes(written[:length])
    assert same(stored_arrays(path, make))
    assert make.count == 1


def test_each_block_has_a_checksum_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stored, "BLOCK", 5)
    path, make = tmp_path / "a.packed", Made()
    assert same(stored_arrays(path, make, threads=3))
    assert same(stored_arrays(path, make, threads=3))
    assert make.count == 1
    content = bytearray(path.read_bytes())
    content[6] ^= 1  # in the last block of the first array
    path.write_bytes(content)
    assert same(stored_arrays(path, make, threads=3))
    assert make.count == 2


def cut(path: Path) -> None:
    os.truncate(path, 100)


def write_into(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(70)
        file.write(b"\xff")


@pytest.mark.parametrize(("damage", "finding"), [(cut, "a file that was cut"), (write_into, "was written to")])
def test_a_packed_file_that_is_damaged_in_use_is_an_error(
    checkpoint_folder: Folder, cache: Path, damage: Callable[[Path], None], finding: str
) -> None:
    model = load_model(checkpoint_folder(Layout()), device="cpu", dtype="int8")
    sequence = [np.arange(9, dtype=np.int32)]
    right = finish(model.run(sequence))
    (path,) = cache.glob("*.packed")
    damage(path)
    for _ in range(2):
        with pytest.raises(WeightsDamaged, match=finding) as caught:
            finish(model.run(sequence))
        assert caught.value.path == path
    again = load_model(checkpoint_folder(Layout()), device="cpu", dtype="int8")
    assert np.array_equal(finish(again.run(sequence)), right)


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def replace(path: Path) -> None:
    other = path.with_suffix(".other")
    other.write_bytes(b"something else")
    other.replace(path)


@pytest.mark.parametrize("change", [Path.touch, Path.unlink, rewrite, replace])
def test_a_packed_file_may_be_touched_replaced_and_deleted_in_use(
    checkpoint_folder: Folder, cache: Path, change: Callable[[Path], None]
) -> None:
    model = load_model(checkpoint_folder(Layout()), device="cpu", dtype="int8")
    sequence = [np.arange(9, dtype=np.int32)]
    right = finish(model.run(sequence))
    (path,) = cache.glob("*.packed")
    change(path)
    assert np.array_equal(finish(model.run(sequence)), right)


def test_where_it_cannot_be_written_it_stays_in_memory(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    with caplog.at_level(logging.WARNING):
        assert same(stored_arrays(tmp_path / "file" / "a.packed", Made()))
    assert "kept in memory" in caplog.text


@pytest.fixture
def cache(built: ctypes.CDLL, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    if built.upsize_best_level() == 0:
        pytest.skip("int8 needs a processor with AVX2: run it on one")
    monkeypatch.setenv("UPSIZE_CACHE", str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("kind", ["embedding", "reranker"])
def test_int8_loads_checks_itself_and_names_its_space(checkpoint_folder: Folder, cache: Path, kind: str) -> None:
    folder = str(checkpoint_folder(Layout(kind=kind)))  # type: ignore[arg-type]
    model = load_model(folder, device="cpu", dtype="int8")
    plain = load_model(folder, device="cpu", dtype="float32")
    assert (model.plan.precision, model.compute_dtype) == ("int8", "int8")
    assert model.quantization_fidelity is not None
    assert 0.97 <= model.quantization_fidelity < 1
    assert model.fingerprint.dtype == "int8"
    assert model.fingerprint.quantization != plain.fingerprint.quantization == "none"
    sequences = [np.random.default_rng(n).integers(0, 600, 9 + n).astype(np.int32) for n in range(20)]
    ours, theirs = finish(model.run(sequences)), finish(plain.run(sequences))
    if kind == "embedding":
        assert centred_cosine(ours, theirs) > 0.98
    else:
        assert np.corrcoef(ours, theirs)[0, 1] > 0.98
    assert {p.suffix for p in cache.iterdir()} == {".packed", ".json"}
    written = {p: p.stat().st_mtime_ns for p in cache.iterdir()}
    assert load_model(folder, device="cpu", dtype="int8").quantization_fidelity == model.quantization_fidelity
    assert {p: p.stat().st_mtime_ns for p in cache.iterdir()} == written


def test_int8_that_is_off_is_not_served(
    checkpoint_folder: Folder, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loaded, "MIN_FIDELITY", 0.99999)
    model = load_model(str(checkpoint_folder(Layout())), device="cpu", dtype="int8")
    assert model.plan.precision == model.fingerprint.dtype == "float32"
    assert "int8 reaches a centred cosine of only" in model.plan.notes[-1]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(("tensor", "value"), [("layers.1.mlp.up_proj.weight", np.nan), ("norm.weight", np.inf)])
def test_int8_of_weights_that_are_not_finite_is_refused(
    embedder_folder: Path, cache: Path, tmp_path: Path, tensor: str, value: float
) -> None:
    folder = copy_of(embedder_folder, tmp_path / "model")
    tensors = load_file(folder / "model.safetensors")
    tensors[tensor].reshape(-1)[0] = value
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"finite values in bfloat16.*; found NaN or infinite values for a built"):
        load_model(folder, device="cpu", dtype="int8")
    assert not list(cache.glob("*.agreement.json"))


@pytest.mark.filterwarnings("error")
def test_hidden_states_that_cannot_be_compared_have_a_low_fidelity() -> None:
    states = np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)
    for bad in (np.nan, np.inf):
        other = states.copy()
        other[2, 3] = bad
        assert centred_cosine(other, states) == centred_cosine(states, other) == -1
    zeros = states.copy()
    zeros[2] = 0
    assert centred_cosine(np.zeros_like(states), states) == centred_cosine(np.ones_like(states), states) == 0
    assert centred_cosine(zeros, states) < 0.97
    assert centred_cosine(states, states) == pytest.approx(1)
