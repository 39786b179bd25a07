"""modules.json is followed as sentence-transformers follows it; what is not computed here is refused by its file."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from tests.checkpoints import Layout, base_tokenizer, copy_of, edit_json, write_json
from upsize.errors import CheckpointError
from upsize.model import open_checkpoint
from upsize.model.pooling import rerank_score_weight

Folder = Callable[[Layout], Path]
OLD, NEW = "sentence_transformers.models", "sentence_transformers.sentence_transformer.modules"


@pytest.fixture
def embedder(embedder_folder: Path, tmp_path: Path) -> Path:
    return copy_of(embedder_folder, tmp_path / "own")


@pytest.fixture
def reranker(reranker_folder: Path, tmp_path: Path) -> Path:
    return copy_of(reranker_folder, tmp_path / "own")


def write_modules(folder: Path, *entries: tuple[str, str]) -> None:
    """Entries are (path, type)."""
    write_json(
        folder / "modules.json",
        [{"idx": i, "name": str(i), "path": path, "type": module} for i, (path, module) in enumerate(entries)],
    )


def refused(folder: Path, file: str, finding: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        open_checkpoint(folder)
    assert caught.value.path == folder / file
    assert finding in caught.value.found + caught.value.hint


@pytest.mark.parametrize(
    ("pooling", "finding"),
    [
        ({}, "no mode, which sentence-transformers reads as mean"),
        ({"word_embedding_dimension": 64}, "reads as mean"),
        ({"pooling_mode_lasttoken": False}, "reads as mean"),
        ({"pooling_mode": "mean"}, "mean"),
        ({"pooling_mode": ["mean"]}, "mean"),
        ({"pooling_mode": ["lasttoken", "mean"]}, "lasttoken, mean"),
        ({"pooling_mode": []}, "mean"),
        ({"pooling_mode": "cls"}, "cls"),
        ({"pooling_mode": "last"}, "last"),
        ({"pooling_mode": None}, "None"),
        ({"pooling_mode": {"lasttoken": True}}, "lasttoken"),
        ({"pooling_mode": "mean", "pooling_mode_lasttoken": True}, "mean"),
        ({"pooling_mode_lasttoken": True, "pooling_mode_max_tokens": True}, "pooling_mode_max_tokens"),
        ({"pooling_mode_mean_tokens": 1}, "pooling_mode_mean_tokens"),
        ({"pooling_mode": "lasttoken", "include_prompt": False}, "False"),
        ({"pooling_mode": "lasttoken", "embedding_dimension": 32}, "32"),
        ({"pooling_mode": "lasttoken", "word_embedding_dimension": 768}, "768"),
    ],
)
def test_another_pooling_is_refused(embedder: Path, pooling: dict[str, Any], finding: str) -> None:
    write_json(embedder / "1_Pooling" / "config.json", pooling)
    refused(embedder, "1_Pooling/config.json", finding)
    # Without modules.json the usual place counts.
    (embedder / "modules.json").unlink()
    refused(embedder, "1_Pooling/config.json", finding)


@pytest.mark.parametrize(
    "pooling",
    [
        {"pooling_mode": "lasttoken"},
        {"pooling_mode": ["lasttoken"], "embedding_dimension": 64, "include_prompt": True},
        {"pooling_mode_lasttoken": True, "pooling_mode_mean_tokens": False},
        {"pooling_mode": "lasttoken", "pooling_mode_mean_tokens": True},
    ],
)
def test_every_way_to_write_last_token_is_read(embedder: Path, pooling: dict[str, Any]) -> None:
    write_json(embedder / "1_Pooling" / "config.json", pooling)
    assert open_checkpoint(embedder).kind == "embedding"


def test_the_pooling_is_where_modules_json_says(embedder: Path) -> None:
    write_modules(
        embedder,
        ("", f"{OLD}.Transformer"),
        ("1_Other", f"{NEW}.pooling.Pooling"),
        ("2_Normalize", "sentence_transformers.base.modules.normalize.Normalize"),
    )
    refused(embedder, "1_Other/config.json", "no such file")
    (embedder / "1_Other").mkdir()
    write_json(embedder / "1_Other" / "config.json", {"pooling_mode_mean_tokens": True})
    refused(embedder, "1_Other/config.json", "mean")
    write_json(embedder / "1_Other" / "config.json", {"pooling_mode": "lasttoken"})
    assert open_checkpoint(embedder).kind == "embedding"
    # What nobody names does not count.
    write_json(embedder / "1_Pooling" / "config.json", {"pooling_mode": "mean"})
    assert open_checkpoint(embedder).kind == "embedding"


POOL, NORM = ("1_Pooling", f"{OLD}.Pooling"), ("2_Normalize", f"{OLD}.Normalize")
FIRST = ("", f"{OLD}.Transformer")


@pytest.mark.parametrize(
    ("entries", "finding"),
    [
        ((FIRST, POOL, ("2_Pooling", f"{OLD}.Pooling")), "2"),
        ((FIRST, POOL, NORM, ("3_Dense", f"{OLD}.Dense")), "Dense"),
        ((FIRST, POOL, ("2_LayerNorm", f"{OLD}.LayerNorm")), "LayerNorm"),
        ((FIRST, ("1_W", f"{OLD}.WeightedLayerPooling"), POOL), "WeightedLayerPooling"),
        ((FIRST, POOL, ("2", "own_package.Normalize")), "own_package.Normalize"),
        ((FIRST, ("1_Pooling", "custom.Pooling")), "custom.Pooling"),
        ((("", "modeling.Transformer"), POOL), "modeling.Transformer"),
        ((FIRST, POOL, ("2_L", "sentence_transformers.cross_encoder.modules.LogitScore")), "LogitScore"),
        ((FIRST, NORM), "none"),
        ((FIRST,), "none"),
        ((FIRST, NORM, POOL), "before it"),
        ((POOL, FIRST), "Pooling, Transformer"),
        ((FIRST, FIRST, POOL), "Transformer, Transformer, Pooling"),
        ((FIRST, ("../1_Pooling", f"{OLD}.Pooling")), "'../1_Pooling'"),
        ((FIRST, ("/etc", f"{OLD}.Pooling")), "'/etc'"),
        ((), "a JSON list of 0"),
    ],
)
def test_other_modules_are_refused(embedder: Path, entries: tuple[tuple[str, str], ...], finding: str) -> None:
    write_modules(embedder, *entries)
    refused(embedder, "modules.json", finding)


@pytest.mark.parametrize(
    ("value", "finding"),
    [
        ([{"type": 5}], "5"),
        ([5], "5"),
        ("text", "a JSON str"),
        ([{"type": "sentence_transformers.models.Transformer"}] * 33, "of 33"),
        (
            [{"name": "0", "path": "", "type": f"{OLD}.Transformer"}, {"name": "0", "path": "1", "type": POOL[1]}],
            "0, 0",
        ),
        ([{"name": "0", "path": 7, "type": f"{OLD}.Transformer"}], "7"),
    ],
)
def test_a_modules_json_that_is_none_is_refused(embedder: Path, value: object, finding: str) -> None:
    write_json(embedder / "modules.json", value)
    refused(embedder, "modules.json", finding)


def test_json_that_is_nested_too_deeply_is_refused(embedder: Path) -> None:
    (embedder / "modules.json").write_text("[" * 100_000)
    refused(embedder, "modules.json", "unreadable JSON")
    (embedder / "modules.json").unlink()
    (embedder / "config.json").write_text('{"a":' * 100_000)
    refused(embedder, "config.json", "unreadable JSON")


def test_a_normalize_of_something_else_is_refused(embedder: Path) -> None:
    (embedder / "2_Normalize").mkdir()
    path = embedder / "2_Normalize" / "config.json"
    write_json(path, {"module_input_name": "sentence_embedding", "module_output_name": None})
    assert open_checkpoint(embedder).kind == "embedding"
    write_json(path, {"module_input_name": "token_embeddings"})
    refused(embedder, "2_Normalize/config.json", "token_embeddings")


def test_vectors_of_length_1_are_refused_where_lengths_matter(embedder: Path) -> None:
    write_modules(embedder, FIRST, POOL, ("2_Dropout", f"{OLD}.Dropout"))
    assert open_checkpoint(embedder).kind == "embedding"  # compared by cosine
    edit_json(embedder / "config_sentence_transformers.json", similarity_fn_name="dot")
    refused(embedder, "modules.json", "'dot'")
    write_modules(embedder, FIRST, POOL, NORM)
    assert open_checkpoint(embedder).kind == "embedding"


def test_a_transformer_in_a_folder_of_its_own_is_read_there(embedder: Path) -> None:
    before = open_checkpoint(embedder).fingerprint("float32", 64)
    (embedder / "0_Transformer").mkdir()
    for name in ("config.json", "tokenizer.json", "tokenizer_config.json", "model.safetensors"):
        shutil.move(embedder / name, embedder / "0_Transformer" / name)
    write_modules(embedder, ("0_Transformer", f"{OLD}.Transformer"), POOL, NORM)
    after = open_checkpoint(embedder)
    assert after.fingerprint("float32", 64) == before
    (embedder / "0_Transformer" / "config.json").unlink()
    refused(embedder, "0_Transformer/config.json", "no such file")


@pytest.mark.parametrize("model_type", ["CrossEncoder", "SparseEncoder", "MultiVectorEncoder"])
def test_another_type_of_model_is_refused(embedder: Path, model_type: str) -> None:
    edit_json(embedder / "config_sentence_transformers.json", model_type=model_type)
    refused(embedder, "config_sentence_transformers.json", model_type)
    edit_json(embedder / "config_sentence_transformers.json", model_type="SentenceTransformer")
    assert open_checkpoint(embedder).kind == "embedding"


def test_a_default_prompt_is_that_of_plain_texts(embedder: Path) -> None:
    path = embedder / "config_sentence_transformers.json"
    before = open_checkpoint(embedder)
    assert before.prompts.prefix(None, None) == ""  # type: ignore[union-attr]
    edit_json(path, default_prompt_name="query")
    after = open_checkpoint(embedder)
    prompts = after.prompts
    assert prompts.prefix(None, None) == prompts.prefix("query", None) != ""  # type: ignore[union-attr]
    assert prompts.prefix("document", None) == ""  # type: ignore[union-attr]
    assert after.fingerprint("float32", 64).id != before.fingerprint("float32", 64).id
    edit_json(path, default_prompt_name="document")
    assert open_checkpoint(embedder).fingerprint("float32", 64) == before.fingerprint("float32", 64)
    for wrong in ("absent", 5):
        edit_json(path, default_prompt_name=wrong)
        refused(embedder, "config_sentence_transformers.json", repr(wrong))
    edit_json(path, default_prompt_name=None, prompts={"query": 5})
    refused(embedder, "config_sentence_transformers.json", "5")


def test_a_smaller_dimension_that_is_declared_is_said(embedder: Path, caplog: pytest.LogCaptureFixture) -> None:
    edit_json(embedder / "config_sentence_transformers.json", truncate_dim=32)
    with caplog.at_level(logging.WARNING):
        open_checkpoint(embedder)
    assert "truncate_dim 32" in caplog.text


def test_a_pooling_that_no_file_tells_is_said(
    checkpoint_folder: Folder, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = copy_of(checkpoint_folder(Layout(sentence_transformers=False)), tmp_path / "own")
    open_checkpoint(folder)
    assert not caplog.records  # of a causal language model sentence-transformers takes the last token, too
    edit_json(folder / "config.json", architectures=["Qwen3Model"])
    assert open_checkpoint(folder).kind == "embedding"
    assert "would take the mean for Qwen3Model" in caplog.text


# rerankers

LOGIT = ("1_LogitScore", "sentence_transformers.cross_encoder.modules.logit_score.LogitScore")


def write_scores(folder: Path, **config: Any) -> None:
    write_modules(folder, ("", "sentence_transformers.base.modules.transformer.Transformer"), LOGIT)
    (folder / "1_LogitScore").mkdir(exist_ok=True)
    write_json(folder / "1_LogitScore" / "config.json", config)


def token(text: str) -> int:
    id: int = base_tokenizer().token_to_id(text)
    return id


def test_the_tokens_that_score_are_those_of_the_files(reranker: Path) -> None:
    plain = open_checkpoint(reranker)
    usual = {"true_token_id": token("yes"), "false_token_id": token("no"), "module_input_name": "causal_logits"}
    write_scores(reranker, **usual)
    same = open_checkpoint(reranker)
    assert same.fingerprint("float32", 64) == plain.fingerprint("float32", 64)
    np.testing.assert_array_equal(rerank_score_weight(same), rerank_score_weight(plain))
    write_scores(reranker, true_token_id=token("no"), false_token_id=token("yes"))
    other = open_checkpoint(reranker)
    assert other.fingerprint("float32", 64).id != plain.fingerprint("float32", 64).id
    np.testing.assert_array_equal(rerank_score_weight(other), -rerank_score_weight(plain))
    write_scores(reranker, true_token_id=5, false_token_id=7)
    rows = plain.weights.rows("embed_tokens.weight", (5, 7))
    np.testing.assert_array_equal(rerank_score_weight(open_checkpoint(reranker)), rows[0] - rows[1])


@pytest.mark.parametrize(
    ("config", "finding"),
    [
        ({"true_token_id": 5}, "none"),
        ({"true_token_id": 5, "false_token_id": None}, "none"),
        ({"false_token_id": 5}, "None"),
        ({"true_token_id": 5, "false_token_id": 5}, "5 twice"),
        ({"true_token_id": -1, "false_token_id": 5}, "-1"),
        ({"true_token_id": 10**30, "false_token_id": 5}, "1000"),
        ({"true_token_id": True, "false_token_id": 5}, "True"),
        ({"true_token_id": "yes", "false_token_id": "no"}, "'yes'"),
        ({"true_token_id": 5, "false_token_id": 6, "module_input_name": "token_embeddings"}, "token_embeddings"),
    ],
)
def test_scores_that_are_no_odds_of_two_tokens_are_refused(
    reranker: Path, config: dict[str, Any], finding: str
) -> None:
    write_scores(reranker, **config)
    refused(reranker, "1_LogitScore/config.json", finding)


def test_a_score_of_other_modules_is_refused(reranker: Path, checkpoint_folder: Folder, tmp_path: Path) -> None:
    write_modules(reranker, FIRST, LOGIT)
    refused(reranker, "1_LogitScore/config.json", "no such file")
    write_modules(reranker, FIRST, ("1_Dense", "sentence_transformers.base.modules.dense.Dense"), LOGIT)
    refused(reranker, "modules.json", "Dense")
    write_modules(reranker, FIRST, LOGIT, ("2_LogitScore", LOGIT[1]))
    refused(reranker, "modules.json", "2")
    headed = copy_of(checkpoint_folder(Layout(kind="reranker", score_head=True)), tmp_path / "headed")
    write_modules(headed, FIRST)
    assert open_checkpoint(headed).kind == "reranker"
    write_scores(headed, true_token_id=5, false_token_id=6)
    refused(headed, "modules.json", "score.weight")


def test_a_head_that_contradicts_config_json_is_refused(checkpoint_folder: Folder, tmp_path: Path) -> None:
    """Versions of transformers differ on which of the two they take."""
    untied = checkpoint_folder(Layout(kind="reranker", tied=False))
    folder = copy_of(untied, tmp_path / "own")
    edit_json(folder / "config.json", tie_word_embeddings=True)
    with pytest.raises(CheckpointError, match=r"found others in the rows that score.*tie_word_embeddings to false"):
        rerank_score_weight(open_checkpoint(folder))
    head = open_checkpoint(untied).weights.rows("lm_head.weight", (token("yes"), token("no")))
    np.testing.assert_array_equal(rerank_score_weight(open_checkpoint(untied)), head[0] - head[1])
    # The same rows twice are no contradiction.
    tensors = load_file(folder / "model.safetensors")
    tensors["lm_head.weight"] = tensors["model.embed_tokens.weight"].copy()
    save_file(tensors, folder / "model.safetensors")
    plain = open_checkpoint(checkpoint_folder(Layout(kind="reranker")))
    np.testing.assert_array_equal(rerank_score_weight(open_checkpoint(folder)), rerank_score_weight(plain))
