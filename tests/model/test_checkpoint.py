"""A folder that is not what it should be: the message names the file, what was expected, and what was found."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from tests.checkpoints import Layout, copy_of, edit_json, network, write_weights
from upsize.compute import load_model
from upsize.errors import CheckpointError, UnsupportedModel
from upsize.model import open_checkpoint

Folder = Callable[[Layout], Path]


@pytest.fixture
def folder(embedder_folder: Path, tmp_path: Path) -> Path:
    return copy_of(embedder_folder, tmp_path / "damaged")


@pytest.fixture
def sharded(checkpoint_folder: Folder, tmp_path: Path) -> Path:
    return copy_of(checkpoint_folder(Layout(sharded=True)), tmp_path / "damaged")


def refusal(folder: Path) -> CheckpointError:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    error = caught.value
    assert str(error).startswith(f"{error.path}: expected {error.expected}; found {error.found}.")
    return error


def replace_tensors(folder: Path, **changes: torch.Tensor | None) -> None:
    path = folder / "model.safetensors"
    tensors = load_file(path) | changes
    save_file({name: t.clone() for name, t in tensors.items() if t is not None}, path)


def test_no_such_folder(tmp_path: Path) -> None:
    assert refusal(tmp_path / "none").found == "no such folder"


def test_a_file_instead_of_a_folder(folder: Path) -> None:
    error = refusal(folder / "model.safetensors")
    assert (error.expected, error.found) == ("a model folder", "a file")


@pytest.mark.parametrize(
    ("name", "expected"),
    [("config.json", "the model's configuration"), ("tokenizer.json", "the tokenizer's definition")],
)
def test_a_missing_file(folder: Path, name: str, expected: str) -> None:
    (folder / name).unlink()
    error = refusal(folder)
    assert (error.path, error.expected, error.found) == (folder / name, expected, "no such file")


def test_a_shard_that_was_cut_off(sharded: Path) -> None:
    shard = sharded / "model-00002-of-00003.safetensors"
    whole = shard.read_bytes()
    shard.write_bytes(whole[:-1000])
    error = refusal(sharded)
    assert error.path == shard
    assert error.expected == f"{len(whole):,} bytes, as its header says"
    assert error.found == f"{len(whole) - 1000:,} bytes (cut off or not complete)"
    assert error.hint == "Download it again."


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\xff" * 64, b"\x08" + b"\0" * 7 + b"nonsense"])
def test_weights_that_are_garbage(folder: Path, content: bytes) -> None:
    (folder / "model.safetensors").write_bytes(content)
    error = refusal(folder)
    assert error.path == folder / "model.safetensors"
    assert error.expected == "a safetensors file"
    assert error.found.startswith(f"{len(content)} bytes that are none")


def test_a_git_lfs_pointer_instead_of_the_weights(folder: Path) -> None:
    pointer = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 1191586416\n"
    (folder / "model.safetensors").write_bytes(pointer)
    assert "git" in refusal(folder).found.lower()


def test_a_missing_shard(sharded: Path) -> None:
    (sharded / "model-00003-of-00003.safetensors").unlink()
    error = refusal(sharded)
    assert (error.path, error.expected) == (sharded, "3 shards")
    assert error.found == "model-00003-of-00003.safetensors missing"


@pytest.mark.parametrize(
    ("content", "finding"),
    [("{", "unreadable JSON"), ("{}", "None"), ('{"weight_map": []}', r"\[\]"), ('{"weight_map": {"a": 1}}', "1")],
)
def test_a_broken_index(sharded: Path, content: str, finding: str) -> None:
    index = sharded / "model.safetensors.index.json"
    index.write_text(content)
    with pytest.raises(CheckpointError, match=finding) as caught:
        open_checkpoint(sharded)
    assert caught.value.path == index


@pytest.mark.parametrize(("others", "found"), [((), "no weights"), (("b.gguf", "a.bin"), "only a.bin, b.gguf")])
def test_no_weights_that_are_read(folder: Path, others: tuple[str, ...], found: str) -> None:
    (folder / "model.safetensors").unlink()
    for name in others:
        (folder / name).touch()
    error = refusal(folder)
    assert error.found == found
    assert "model.safetensors, or shards with model.safetensors.index.json" in error.expected
    assert ("GGUF, ONNX and pickled weights are not read" in error.hint) == bool(others)


@pytest.mark.parametrize(
    ("others", "advice"), [(("adapter_config.json", "adapter_model.safetensors"), "LoRA"), (("m.gguf",), "GGUF")]
)
@pytest.mark.parametrize("configured", [True, False])
def test_a_folder_of_another_sort_says_what_to_do(
    folder: Path, others: tuple[str, ...], advice: str, configured: bool
) -> None:
    (folder / "model.safetensors").unlink()
    if not configured:
        (folder / "config.json").unlink()
    for name in others:
        (folder / name).touch()
    assert advice in refusal(folder).hint


def test_a_tensor_of_another_shape(folder: Path) -> None:
    replace_tensors(folder, **{"layers.1.mlp.up_proj.weight": torch.zeros(95, 64)})
    error = refusal(folder)
    assert error.path == folder / "model.safetensors"
    assert error.expected == "layers.1.mlp.up_proj.weight of shape [96, 64], by config.json"
    assert error.found == "[95, 64]"


def test_missing_tensors(folder: Path) -> None:
    edit_json(folder / "config.json", num_hidden_layers=4)
    error = refusal(folder)
    assert (error.path, error.expected) == (folder, "46 tensors")
    assert error.found.startswith("no layers.3.input_layernorm.weight, ")
    assert error.found.endswith(" and 8 more")


def test_more_layers_than_config_says(folder: Path) -> None:
    edit_json(folder / "config.json", num_hidden_layers=2)
    assert isinstance(refusal(folder), UnsupportedModel)


def test_a_tensor_too_many(folder: Path) -> None:
    replace_tensors(folder, **{"layers.0.self_attn.q_proj.bias": torch.zeros(96)})
    error = refusal(folder)
    assert isinstance(error, UnsupportedModel)
    assert error.expected == "the tensors of a Qwen3 network"
    assert error.found == "layers.0.self_attn.q_proj.bias besides them"


@pytest.mark.parametrize(("dtype", "name"), [(torch.int8, "I8"), (torch.float8_e4m3fn, "F8_E4M3")])
def test_quantised_weights(folder: Path, dtype: torch.dtype, name: str) -> None:
    replace_tensors(folder, **{"layers.0.mlp.up_proj.weight": torch.zeros(96, 64).to(dtype)})
    error = refusal(folder)
    assert isinstance(error, UnsupportedModel)
    assert error.found == f"layers.0.mlp.up_proj.weight in {name}"
    assert "give the original one" in error.hint


def test_a_tokenizer_with_more_ids_than_the_embedding_has_rows(folder: Path) -> None:
    edit_json(folder / "config.json", vocab_size=639)
    replace_tensors(folder, **{"embed_tokens.weight": network(Layout())["embed_tokens.weight"][:639]})
    error = refusal(folder)
    assert (error.path.name, error.expected, error.found) == ("tokenizer.json", "at most 639 ids (vocab_size)", "640")


def test_an_id_beyond_the_embedding_counts_even_where_ids_are_left_out(folder: Path) -> None:
    path = folder / "tokenizer.json"
    definition = json.loads(path.read_text())
    vocabulary = definition["model"]["vocab"]
    vocabulary[max(vocabulary, key=vocabulary.__getitem__)] = 700
    path.write_text(json.dumps(definition))
    error = refusal(folder)
    assert (error.path.name, error.found) == ("tokenizer.json", "701")


def test_an_added_token_beyond_the_embedding_whatever_id_the_file_gives_it(folder: Path) -> None:
    path = folder / "tokenizer.json"
    definition = json.loads(path.read_text())
    definition["added_tokens"].append({**definition["added_tokens"][-1], "id": 5, "content": "<|one too many|>"})
    path.write_text(json.dumps(definition))
    assert refusal(folder).found == "641"


def test_a_tokenizer_with_dropout(folder: Path) -> None:
    edit_json(
        folder / "tokenizer.json", model=json.loads((folder / "tokenizer.json").read_text())["model"] | {"dropout": 0.5}
    )
    assert refusal(folder).found.startswith("dropout 0.5")


def test_a_tokenizer_that_its_library_panics_on(folder: Path) -> None:
    model = json.loads((folder / "tokenizer.json").read_text())["model"] | {"continuing_subword_prefix": "##"}
    edit_json(folder / "tokenizer.json", model=model)
    assert refusal(folder).expected == "a tokenizers definition"


def test_an_untied_reranker_without_its_head(reranker_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(reranker_folder, tmp_path / "damaged")
    edit_json(folder / "config.json", tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match=r"lm_head\.weight or score\.weight .*; found neither"):
        load_model(str(folder))


@pytest.mark.parametrize(("name", "expected"), [("score.weight", [1, 64]), ("lm_head.weight", [640, 64])])
def test_a_head_of_another_shape(reranker_folder: Path, tmp_path: Path, name: str, expected: list[int]) -> None:
    folder = copy_of(reranker_folder, tmp_path / "damaged")
    replace_tensors(folder, **{name: torch.zeros(2, 64)})
    error = refusal(folder)
    assert error.expected == f"{name} of shape {expected}, by config.json"
    assert error.found == "[2, 64]"


def test_the_same_tensor_twice(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    write_weights(folder, {**stored, "model.norm.weight": stored["norm.weight"] * 2})
    with pytest.raises(CheckpointError, match=r"norm\.weight once; found it again, after model\.safetensors"):
        open_checkpoint(folder)
