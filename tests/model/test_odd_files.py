"""Files of a checkpoint that are no files, or have no names: named in an error, at once."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkpoints import copy_of
from upsize.errors import CheckpointError
from upsize.model import open_checkpoint

NAMES = ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors", "modules.json")
FINDINGS = (
    r"found (a folder|no regular file|no such file|a link to a file that is not there|an error \(Too many levels)"
)


def folder(path: Path) -> None:
    path.mkdir()


def pipe(path: Path) -> None:
    os.mkfifo(path)


def link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere")


def link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


def device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@pytest.mark.parametrize("name", [*NAMES, "config_sentence_transformers.json", "1_Pooling/config.json"])
@pytest.mark.parametrize("make", [folder, pipe, device, link_to_nothing, link_to_itself])
def test_what_is_no_file_is_named(
    embedder_folder: Path, tmp_path: Path, name: str, make: Callable[[Path], None]
) -> None:
    copy = copy_of(embedder_folder, tmp_path / "model")
    (copy / name).unlink()
    make(copy / name)
    with pytest.raises(CheckpointError, match=FINDINGS) as caught:
        open_checkpoint(copy)
    assert caught.value.path == copy / name


@pytest.mark.parametrize("name", ["x" * 5000, "ü" * 130, "", ".", "a\0b", "\ud83d", "../y", "/etc/passwd"])
def test_a_shard_whose_name_is_none_is_refused(embedder_folder: Path, tmp_path: Path, name: str) -> None:
    copy = copy_of(embedder_folder, tmp_path / "model")
    (copy / "model.safetensors").rename(copy / "y.safetensors")
    (copy / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": name}}))
    with pytest.raises(CheckpointError, match="names of files beside it"):
        open_checkpoint(copy)


def test_a_file_that_is_too_large_is_not_read(embedder_folder: Path, tmp_path: Path) -> None:
    copy = copy_of(embedder_folder, tmp_path / "model")
    os.truncate(copy / "tokenizer.json", 1 << 40)
    with pytest.raises(CheckpointError, match=r"a file of 1,099,511,627,776 bytes; at most 268,435,456 are read"):
        open_checkpoint(copy)
