"""Embedder or reranker: told from the files of every published layout, refused where they do not tell."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkpoints import Layout, copy_of, edit_json, write_checkpoint, write_json
from upsize.catalog import Kind
from upsize.errors import CheckpointError, UnsupportedModel
from upsize.model import open_checkpoint

Folder = Callable[[Layout], Path]


@pytest.mark.parametrize(
    ("layout", "kind"),
    [
        (Layout(), "embedding"),
        (Layout(sharded=True), "embedding"),
        (Layout(prefixed=True), "embedding"),
        (Layout(end_rule=False), "embedding"),
        (Layout(prefixed=True, end_rule=False), "embedding"),
        (Layout(sentence_transformers=False), "embedding"),
        (Layout(sentence_transformers=False, prefixed=True), "embedding"),
        (Layout(sentence_transformers=False, end_rule=False), "embedding"),
        (Layout(transformers_5=True), "embedding"),
        (Layout(kind="reranker"), "reranker"),
        (Layout(kind="reranker", sharded=True, tied=False), "reranker"),
        (Layout(kind="reranker", score_head=True), "reranker"),
        (Layout(kind="reranker", score_head=True, prefixed=False), "reranker"),
        (Layout(kind="reranker", score_head=True, end_rule=True), "reranker"),
    ],
)
def test_the_files_of_every_layout_tell(layout: Layout, kind: Kind, checkpoint_folder: Folder) -> None:
    assert open_checkpoint(checkpoint_folder(layout)).kind == kind


@pytest.fixture
def chat_model(tmp_path: Path) -> Path:
    """A chat model's files: prefixed, no end rule, the padded vocabulary, nothing of sentence-transformers."""
    return write_checkpoint(
        tmp_path / "chat", Layout(kind="reranker", padded_vocabulary=151936, hidden_size=32, layers=1, dtype="bfloat16")
    )


def test_a_chat_model_is_refused_unless_the_user_says_what_it_is(chat_model: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"the vocabulary of a chat model.*--task embedding or --task reranker"):
        open_checkpoint(chat_model)
    assert open_checkpoint(chat_model, "embedding").kind == "embedding"
    assert open_checkpoint(chat_model, "reranker").kind == "reranker"


@pytest.mark.parametrize(
    ("layout", "stated", "sign"),
    [
        (Layout(), "reranker", "a pooling in modules.json"),
        (Layout(sentence_transformers=False), "reranker", "a tokenizer that appends <|endoftext|>"),
        (Layout(kind="reranker", score_head=True), "embedding", "score.weight among the tensors"),
    ],
)
def test_a_clear_sign_is_not_overridden(layout: Layout, stated: Kind, sign: str, checkpoint_folder: Folder) -> None:
    with pytest.raises(UnsupportedModel) as caught:
        open_checkpoint(checkpoint_folder(layout), stated)
    assert sign in caught.value.found


@pytest.mark.parametrize("stated", ["embedding", "reranker"])
def test_the_user_decides_where_nothing_tells(stated: Kind, checkpoint_folder: Folder) -> None:
    folder = checkpoint_folder(Layout(kind="reranker", prefixed=False))
    assert open_checkpoint(folder).kind == "embedding"
    assert open_checkpoint(folder, stated).kind == stated


@pytest.mark.parametrize(("layout", "wrong"), [(Layout(), "reranker"), (Layout(kind="reranker"), "embedding")])
def test_a_published_layout_is_never_read_as_the_other(layout: Layout, wrong: Kind, checkpoint_folder: Folder) -> None:
    with pytest.raises(UnsupportedModel, match=r"use Embedder|use Reranker"):
        open_checkpoint(checkpoint_folder(layout), wrong)


@pytest.mark.parametrize(
    ("module", "kind"),
    [
        ("sentence_transformers.models.Pooling", "embedding"),
        ("sentence_transformers.cross_encoder.modules.LogitScore", "reranker"),
        ("sentence_transformers.base.modules.LogitScore", "reranker"),
    ],
)
def test_modules_json_outweighs_the_tensors_names(
    reranker_folder: Path, tmp_path: Path, module: str, kind: Kind
) -> None:
    folder = copy_of(reranker_folder, tmp_path / "own")
    write_json(
        folder / "modules.json",
        [{"idx": 0, "type": "sentence_transformers.models.Transformer"}, {"idx": 1, "type": module}],
    )
    assert open_checkpoint(folder).kind == kind


@pytest.mark.parametrize(("content", "finding"), [("{", "unreadable JSON"), ('{"a": 1}', "a JSON dict")])
def test_a_broken_modules_json_is_named(embedder_folder: Path, tmp_path: Path, content: str, finding: str) -> None:
    folder = copy_of(embedder_folder, tmp_path / "own")
    (folder / "modules.json").write_text(content)
    with pytest.raises(CheckpointError, match=finding) as caught:
        open_checkpoint(folder)
    assert str(folder / "modules.json") in str(caught.value)


def test_a_classifier_without_its_head_is_refused(reranker_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(reranker_folder, tmp_path / "own")
    edit_json(folder / "config.json", architectures=["Qwen3ForSequenceClassification"])
    with pytest.raises(UnsupportedModel, match=r"a score\.weight for Qwen3ForSequenceClassification; found none"):
        open_checkpoint(folder)


def test_mean_pooling_is_refused(embedder_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(embedder_folder, tmp_path / "own")
    path = folder / "1_Pooling" / "config.json"
    edit_json(path, pooling_mode_lasttoken=False, pooling_mode_mean_tokens=True)
    with pytest.raises(UnsupportedModel, match="expected last-token pooling; found pooling_mode_mean_tokens") as caught:
        open_checkpoint(folder)
    assert caught.value.path == path
    write_json(path, {"pooling_mode": "mean"})
    with pytest.raises(UnsupportedModel, match="found mean"):
        open_checkpoint(folder)
    write_json(path, {"pooling_mode": "lasttoken"})
    assert open_checkpoint(folder).kind == "embedding"


def test_a_projection_after_the_pooling_is_refused(embedder_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(embedder_folder, tmp_path / "own")
    path = folder / "modules.json"
    modules = json.loads(path.read_text())
    dense = {"idx": 3, "name": "3", "path": "3_Dense", "type": "sentence_transformers.models.Dense"}
    path.write_text(json.dumps([*modules, dense]))
    with pytest.raises(UnsupportedModel, match=r"no module but Transformer, Pooling, .*; found Dense") as caught:
        open_checkpoint(folder)
    assert caught.value.path == path


def test_a_pooling_without_the_prompt_is_refused(embedder_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(embedder_folder, tmp_path / "own")
    edit_json(folder / "1_Pooling" / "config.json", include_prompt=False)
    with pytest.raises(UnsupportedModel, match="include_prompt"):
        open_checkpoint(folder)
