"""Embedder: shapes, sides, errors that name the text among all texts, and little memory for any number of them."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import patch

import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from tests.checkpoints import SENTENCES, Layout, copy_of
from upsize import Embedder
from upsize.engine.local import REQUEST_TEXTS
from upsize.engine.submit_ahead import AHEAD
from upsize.errors import (
    CheckpointError,
    InvalidDimension,
    InvalidInput,
    NonFiniteVector,
    TextTooLong,
    Unavailable,
    UnsupportedModel,
)
from upsize.model import open_checkpoint

MANY = [f"{SENTENCES[i % len(SENTENCES)]} {i}" for i in range(150)]


@pytest.fixture(scope="module")
def embedder(embedder_folder: Path) -> Iterator[Embedder]:
    with Embedder(str(embedder_folder), dtype="float32") as embedder:
        yield embedder


def test_shapes_and_types(embedder: Embedder) -> None:
    assert embedder.dimension == 64
    assert embedder.encode(SENTENCES).shape == (len(SENTENCES), 64)
    assert embedder.encode(SENTENCES[0]).shape == (64,)
    assert embedder.encode([]).shape == (0, 64)
    assert embedder.encode([], dim=32).shape == (0, 32)
    assert embedder.encode(SENTENCES[0]).dtype == np.float32


def test_more_texts_than_one_call_takes_come_in_order(embedder: Embedder) -> None:
    vectors = embedder.encode(MANY)
    for place in (0, REQUEST_TEXTS - 1, REQUEST_TEXTS, len(MANY) - 1):
        np.testing.assert_allclose(vectors[place], embedder.encode(MANY[place]), atol=1e-5)


def test_sides_and_instructions(embedder: Embedder) -> None:
    text = SENTENCES[0]
    default = embedder.encode_query(text)
    task = embedder.encode_query(text, instruction="Sort")
    assert np.abs(default - task).max() > 1e-3
    np.testing.assert_allclose(embedder.encode(text, instruction="Sort"), task, atol=1e-6)
    np.testing.assert_allclose(embedder.encode_document(text), embedder.encode(text), atol=1e-6)
    np.testing.assert_allclose(embedder.encode(embedder.prefix("query") + text), default, atol=1e-6)
    assert embedder.prefix("query", "Sort") == "Instruct: Sort\nQuery:"
    assert embedder.prefix("document") == embedder.prefix(None) == ""


def test_a_dimension_is_a_cut_that_is_normalised(embedder: Embedder) -> None:
    full, cut = embedder.encode(SENTENCES), embedder.encode(SENTENCES, dim=40)
    expected = full[:, :40] / np.linalg.norm(full[:, :40], axis=1, keepdims=True)
    np.testing.assert_allclose(cut, expected, atol=1e-6)
    with pytest.raises(InvalidDimension):
        embedder.encode(SENTENCES, dim=65)


@pytest.mark.parametrize("place", [0, 3, REQUEST_TEXTS, REQUEST_TEXTS + 6, 149])
def test_a_text_too_long_is_named_by_its_place_among_all(embedder: Embedder, place: int) -> None:
    texts = [*MANY[:place], "a b " * 3000, *MANY[place + 1 :]]
    with pytest.raises(TextTooLong, match=rf"input\[{place}\] has") as caught:
        embedder.encode(texts)
    assert caught.value.index == place
    assert len(embedder.encode("still here")) == 64


@pytest.mark.parametrize("wrong", ["", None, 7])
def test_what_is_no_text_is_named_by_its_place(embedder: Embedder, wrong: object) -> None:
    with pytest.raises(InvalidInput, match=r"texts\[70\] is") as caught:
        embedder.encode([*MANY[:70], wrong])  # type: ignore[list-item]
    assert (caught.value.param, caught.value.index) == ("texts", 70)


def test_a_dimension_of_numpy_is_a_number(embedder: Embedder) -> None:
    assert embedder.encode("text", dim=np.int64(32)).shape == (32,)  # type: ignore[arg-type]


def test_weights_that_give_nan_are_refused_at_once(embedder_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(embedder_folder, tmp_path / "damaged")
    tensors = load_file(folder / "model.safetensors")
    tensors["layers.1.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match=r"expected weights that give finite values in float32.*; found NaN"):
        Embedder(folder)


def test_weights_that_give_zeros_are_refused_at_once(embedder_folder: Path, tmp_path: Path) -> None:
    folder = copy_of(embedder_folder, tmp_path / "holes")
    tensors = load_file(folder / "model.safetensors")
    tensors["embed_tokens.weight"][open_checkpoint(folder).tokenizer.end_id] = 0  # a row may be, of an unused token
    save_file(tensors, folder / "model.safetensors")
    with pytest.raises(CheckpointError, match="found zeros alone for a first text"):
        Embedder(folder)


def test_nan_is_named_by_its_place_among_all(embedder: Embedder) -> None:
    def poisoned(values: np.ndarray, dimension: int, precision: str) -> np.ndarray:
        if len(values) == len(MANY) % REQUEST_TEXTS:
            raise NonFiniteVector(4, precision)
        return np.zeros((len(values), dimension), np.float32)

    with (
        patch("upsize.engine.pending.unit_vectors", poisoned),
        pytest.raises(NonFiniteVector, match="Text 132 gave") as caught,
    ):
        embedder.encode(MANY)
    assert caught.value.index == 128 + 4


def test_columns_of_numpy_are_texts(embedder: Embedder) -> None:
    expected = embedder.encode(MANY)
    for column in (np.array(MANY), np.array(MANY, object)):
        np.testing.assert_allclose(embedder.encode(column), expected, atol=1e-6)  # type: ignore[arg-type]


def test_truncation_is_a_choice(embedder_folder: Path) -> None:
    with Embedder(str(embedder_folder), max_length=20, truncate=True, dtype="float32") as cutting:
        assert cutting.max_length == 20
        (result,) = cutting.stream(["a b " * 100], None)
        assert result.tokens == (20,)
        assert result.truncated_tokens == (cutting.count_tokens(["a b " * 100])[0] - 20,)
    with Embedder(str(embedder_folder), max_length=20) as strict, pytest.raises(TextTooLong):
        strict.encode("a b " * 100)


def test_a_stream_reads_only_a_little_ahead(embedder: Embedder) -> None:
    read = 0

    def texts() -> Iterator[str]:
        nonlocal read
        for text in MANY * 6:
            read += 1
            yield text

    given = 0
    for result in embedder.stream(texts(), "document"):
        assert read - given <= AHEAD + REQUEST_TEXTS
        given += len(result.values)
    assert given == read == len(MANY) * 6


def test_a_stream_gives_the_vectors_of_the_texts(embedder: Embedder) -> None:
    results = list(embedder.stream(iter(MANY), "query", dim=32))
    assert [len(r.values) for r in results] == [64, 64, 22]
    expected = embedder.encode_query(MANY, dim=32)
    np.testing.assert_allclose(np.concatenate([r.values for r in results]), expected, atol=1e-5)
    assert [t for r in results for t in r.tokens] == embedder.count_tokens(MANY, "query")
    assert {r.fingerprint for r in results} == {embedder.fingerprint.at(32)}


def test_a_mistake_in_a_stream_is_named_by_its_place_among_all(embedder: Embedder) -> None:
    with pytest.raises(InvalidInput, match=r"input\[70\] is an empty string") as caught:
        list(embedder.stream([*MANY[:70], "", "b"], None))
    assert caught.value.index == 70


def test_a_stream_that_is_left_leaves_no_work_behind(embedder: Embedder) -> None:
    stream = embedder.stream(MANY * 4, None)
    next(stream)
    stream.close()  # type: ignore[attr-defined]
    assert len(embedder.encode("still here")) == 64
    assert embedder._engine.queue("model") == (0, 0)


def test_progress_counts_the_texts(embedder: Embedder, capsys: pytest.CaptureFixture[str]) -> None:
    embedder.encode(MANY)
    assert capsys.readouterr().err == ""
    embedder.encode(MANY, progress=True)
    assert "150/150" in capsys.readouterr().err


def test_the_fingerprint_is_of_the_full_size(embedder: Embedder) -> None:
    assert embedder.fingerprint.dimension == 64
    assert embedder.fingerprint.dtype == embedder.dtype == "float32"


def test_the_other_kind_of_model_is_refused(checkpoint_folder: Callable[[Layout], Path]) -> None:
    folder = checkpoint_folder(Layout(kind="reranker", score_head=True))
    with pytest.raises(UnsupportedModel, match=r"expected an embedder; found a reranker .*: use Reranker, or upsize"):
        Embedder(str(folder))


def test_no_such_model() -> None:
    with pytest.raises(CheckpointError, match="found none of these"):
        Embedder("no-such-model")


def test_a_closed_one_takes_nothing(embedder_folder: Path) -> None:
    embedder = Embedder(str(embedder_folder))
    embedder.close()
    embedder.close()
    with pytest.raises(Unavailable):
        embedder.encode("x")


def test_a_program_that_forgets_to_close_ends_well(embedder_folder: Path) -> None:
    code = f"from upsize import Embedder; print(Embedder({str(embedder_folder)!r}).encode('x').shape)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=100)
    assert (done.returncode, done.stdout, done.stderr) == (0, "(64,)\n", "")


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        (None, "texts is a NoneType"),
        (5, "texts is a int"),
        (["fine", "half \ud800 a pair"], "[1] is not valid Unicode"),
    ],
)
def test_what_is_no_text_is_named(embedder_folder: Path, texts: Any, words: str) -> None:
    with Embedder(str(embedder_folder)) as embedder, pytest.raises(InvalidInput) as caught:
        embedder.encode(texts)
    assert words in str(caught.value)
