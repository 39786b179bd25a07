"""The digest is of every byte: any change shows, files and shards do not, and it is kept while the files stay."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file, save_file

from tests.checkpoints import Layout, copy_of, edit_json, write_checkpoint
from upsize.errors import CheckpointError, FingerprintMismatch
from upsize.model import digest as digests
from upsize.model import open_checkpoint
from upsize.model.stored_tensor import StoredTensor
from upsize.model.weights import layer_shapes

Folder = Callable[[Layout], Path]
FILE = "model.safetensors"


def digest(folder: Path) -> str:
    return open_checkpoint(folder).weights.digest


def edit(folder: Path, name: str, change: Callable[[np.ndarray], None]) -> None:
    tensors = {n: values.copy() for n, values in load_file(folder / FILE).items()}
    change(tensors[name])
    save_file(tensors, folder / FILE, metadata={"format": "pt"})


def test_rows_that_no_sample_sees_count(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path / "model", Layout(hidden_size=256, layers=2, intermediate_size=512))
    before = open_checkpoint(folder).weights
    whole, sampled = before.digest, before.sampled_digest

    def rows(values: np.ndarray) -> None:
        values[100:180] = 0

    def most(values: np.ndarray) -> None:
        flat = values.reshape(-1)
        for start in np.linspace(0, len(flat) * 2 // 3, 3).astype(int):
            flat[start + 2048 : start + len(flat) // 3 - 2048] = 0.5

    for name, change in (("embed_tokens.weight", rows), ("layers.1.mlp.down_proj.weight", most)):
        edit(folder, name, change)
        now = open_checkpoint(folder).weights
        assert now.sampled_digest == sampled
        assert now.digest != whole
        whole = now.digest


@settings(max_examples=15)
@given(st.data())
def test_any_bit_of_any_tensor_counts(
    embedder_folder: Path, tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    base = open_checkpoint(embedder_folder)
    name = data.draw(st.sampled_from(sorted(base.weights.tensors)))
    stored = base.weights.tensors[name]
    place = stored.offset + data.draw(st.integers(0, stored.bytes - 1))
    folder = tmp_path_factory.mktemp("bit") / "model"
    folder.mkdir()
    for path in embedder_folder.iterdir():
        if path.name != FILE:
            (folder / path.name).symlink_to(path)
    content = bytearray((embedder_folder / FILE).read_bytes())
    content[place] ^= 1 << data.draw(st.integers(0, 7))
    (folder / FILE).write_bytes(content)
    assert digest(folder) != base.weights.digest


def test_blocks_do_not_show(embedder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A tensor of several blocks is hashed in each of them."""
    monkeypatch.setattr(digests, "BLOCK", 1000)
    before = digest(embedder_folder)
    folder = copy_of(embedder_folder, tmp_path / "model")

    def swap(values: np.ndarray) -> None:
        flat = values.reshape(-1)
        flat[:250], flat[250:500] = flat[250:500].copy(), flat[:250].copy()

    edit(folder, "embed_tokens.weight", swap)
    assert digest(folder) != before


@pytest.fixture
def kept(embedder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder whose digest is kept, and was computed."""
    monkeypatch.setattr(digests, "KEPT_FROM", 0)
    monkeypatch.setenv("UPSIZE_CACHE", str(tmp_path / "cache"))
    folder = copy_of(embedder_folder, tmp_path / "model")
    monkeypatch.setattr(digests, "SETTLED", -1e9)  # whatever the time of the copy is
    digest(folder)
    return folder


@pytest.fixture
def computed(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is computed from now on."""
    found: list[str] = []
    compute = digests.compute_digests

    def count(tensors: dict[str, StoredTensor]) -> digests.Digests:
        result = compute(tensors)
        found.append(result.whole)
        return result

    monkeypatch.setattr(digests, "compute_digests", count)
    return found


def test_it_is_computed_once_for_files_that_stay(kept: Path, computed: list[str]) -> None:
    assert digest(kept) == digest(kept)
    assert not computed


def rewrite(path: Path) -> None:
    path.write_bytes(path.read_bytes())


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    os.utime(other, ns=(path.stat().st_atime_ns, path.stat().st_mtime_ns))
    other.replace(path)


def rewrite_and_set_the_time_back(path: Path) -> None:
    before = path.stat()
    rewrite(path)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


@pytest.mark.parametrize("change", [rewrite, replace, rewrite_and_set_the_time_back])
def test_it_is_computed_again_for_files_that_do_not(
    kept: Path, computed: list[str], change: Callable[[Path], None]
) -> None:
    change(kept / FILE)
    digest(kept)
    assert len(computed) == 1


@pytest.mark.parametrize("damage", ["", "{", "[]", "{}", '{"whole": "sha256-0", "sampled": "0"}', "flip"])
def test_a_record_that_is_damaged_is_not_taken(kept: Path, computed: list[str], damage: str, tmp_path: Path) -> None:
    (record,) = (tmp_path / "cache" / "digests").iterdir()
    if damage == "flip":
        raw = json.loads(record.read_text())
        raw["whole"] = raw["whole"].replace("a", "b")
        damage = json.dumps(raw)
    right = json.loads(record.read_text())["whole"]
    record.write_text(damage)
    assert digest(kept) == right
    assert computed == [right]


def test_times_that_are_too_new_are_not_trusted(
    kept: Path, computed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two writes within one step of the clock leave the same time."""
    monkeypatch.setattr(digests, "SETTLED", 1e9)
    rewrite(kept / FILE)
    assert digest(kept) == digest(kept)
    assert len(computed) == 2


def test_a_cache_that_cannot_be_written_is_said(
    kept: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("UPSIZE_CACHE", str(tmp_path / "file"))
    assert digest(kept).startswith("sha256-")
    assert "hashed again at the next start" in caplog.text


def test_a_file_that_changes_before_it_is_hashed_or_read_is_named(embedder_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(embedder_folder, tmp_path / "model")
    opened = open_checkpoint(folder)
    edit(folder, "norm.weight", lambda values: values.fill(2))
    for work in (lambda: opened.weights.digest, lambda: opened.weights.load("norm.weight")):
        with pytest.raises(CheckpointError, match=r"model\.safetensors: expected the file that was there") as caught:
            work()
        assert "Load the model again" in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rope_theta": 10000.0}, "rope_theta 10000.0"),
        ({"rms_norm_eps": 1e-5}, "rms_norm_eps 1e-05"),
        ({"rope_parameters": {"rope_type": "default", "rope_theta": 5e6}}, "rope_theta 5000000.0"),
    ],
)
def test_every_number_that_changes_a_vector_is_in_the_fingerprint(
    embedder_folder: Path, tmp_path: Path, changes: dict[str, object], told: str
) -> None:
    folder = copy_of(embedder_folder, tmp_path / "model")
    edit_json(folder / "config.json", **changes)
    before, after = open_checkpoint(embedder_folder), open_checkpoint(folder)
    assert before.weights.digest == after.weights.digest
    assert before.identity != after.identity
    one, other = (c.fingerprint("bfloat16", 512) for c in (before, after))
    assert one.id != other.id
    with pytest.raises(FingerprintMismatch, match=told):
        one.require(other)


def test_heads_of_other_widths_are_another_network(embedder_folder: Path) -> None:
    """The matrices may have the same shapes."""
    one = open_checkpoint(embedder_folder).config
    other = dataclasses.replace(one, heads=one.heads // 2, head_dim=one.head_dim * 2)
    assert one.numbers != other.numbers
    assert layer_shapes(one)["self_attn.q_proj.weight"] == layer_shapes(other)["self_attn.q_proj.weight"]
