"""Reranker: probabilities, their order, and errors that name the document among all."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest

from tests.checkpoints import SENTENCES
from upsize import Ranked, Reranker
from upsize.engine.local import REQUEST_TEXTS
from upsize.errors import InvalidInput, TextTooLong, UnsupportedModel

QUERY = "What is the capital of China?"
MANY = [f"{SENTENCES[i % len(SENTENCES)]} {i}" for i in range(150)]


@pytest.fixture(scope="module")
def reranker(reranker_folder: Path) -> Iterator[Reranker]:
    with Reranker(str(reranker_folder), dtype="float32") as reranker:
        yield reranker


def test_scores_are_the_sigmoid_of_log_odds(reranker: Reranker) -> None:
    scores, log_odds = reranker.score(QUERY, SENTENCES), reranker.log_odds(QUERY, SENTENCES)
    assert scores.shape == log_odds.shape == (len(SENTENCES),)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, 1 / (1 + np.exp(-log_odds)), atol=1e-6)
    assert reranker.score(QUERY, []).shape == (0,)


def test_more_documents_than_one_call_takes_come_in_order(reranker: Reranker) -> None:
    log_odds = reranker.log_odds(QUERY, MANY)
    for place in (0, REQUEST_TEXTS - 1, REQUEST_TEXTS, 149):
        np.testing.assert_allclose(log_odds[place], reranker.log_odds(QUERY, [MANY[place]])[0], atol=1e-4)


def test_a_ranking_is_best_first(reranker: Reranker) -> None:
    scores = reranker.score(QUERY, SENTENCES)
    ranking = reranker.rank(QUERY, SENTENCES)
    assert [r.index for r in ranking] == sorted(range(len(SENTENCES)), key=lambda i: -scores[i])
    assert ranking[0] == Ranked(int(scores.argmax()), pytest.approx(float(scores.max())), SENTENCES[scores.argmax()])
    assert reranker.rank(QUERY, SENTENCES, top_n=3) == ranking[:3]
    assert reranker.rank(QUERY, []) == []


@pytest.mark.parametrize("top_n", [0, -1])
def test_fewer_than_one_document_is_no_ranking(reranker: Reranker, top_n: int) -> None:
    with pytest.raises(InvalidInput, match=f"top_n is {top_n}"):
        reranker.rank("q", ["a", "b"], top_n=top_n)


def test_equal_scores_keep_the_documents_order(reranker: Reranker) -> None:
    with patch.object(reranker, "score", return_value=np.array([0.2, 0.5, 0.2, 0.5], np.float32)):
        assert [r.index for r in reranker.rank(QUERY, SENTENCES[:4])] == [1, 3, 0, 2]


def test_an_instruction_changes_the_scores(reranker: Reranker) -> None:
    default = reranker.log_odds(QUERY, SENTENCES)
    np.testing.assert_allclose(reranker.log_odds(QUERY, SENTENCES, reranker.instruction), default, atol=1e-5)
    assert np.abs(reranker.log_odds(QUERY, SENTENCES, "Sort") - default).max() > 1e-3


@pytest.mark.parametrize("place", [0, 3, REQUEST_TEXTS, 149])
def test_a_document_too_long_is_named_by_its_place_among_all(reranker: Reranker, place: int) -> None:
    documents = [*MANY[:place], "a b " * 3000, *MANY[place + 1 :]]
    with pytest.raises(TextTooLong, match=rf"documents\[{place}\] has") as caught:
        reranker.score(QUERY, documents)
    assert (caught.value.param, caught.value.index) == ("documents", place)


def test_a_query_too_long_is_the_querys_error(reranker: Reranker) -> None:
    with pytest.raises(TextTooLong, match="query has") as caught:
        reranker.score("a b " * 3000, MANY)
    assert (caught.value.param, caught.value.index) == ("query", None)
    with pytest.raises(InvalidInput, match="query is an empty string"):
        reranker.score("", MANY)


def test_one_string_is_no_list_of_documents(reranker: Reranker) -> None:
    with pytest.raises(InvalidInput, match="documents is one string"):
        reranker.score(QUERY, SENTENCES[0])


def test_columns_of_numpy_are_documents(reranker: Reranker) -> None:
    expected = reranker.score(QUERY, SENTENCES)
    np.testing.assert_allclose(reranker.score(QUERY, np.array(SENTENCES, object)), expected, atol=1e-6)  # type: ignore[arg-type]


def test_a_stream_gives_one_result_a_row(reranker: Reranker) -> None:
    rows = [(QUERY, SENTENCES[:3]), ("why?", SENTENCES[3:]), ("x", [])]
    results = list(reranker.stream(rows))
    for (query, documents), result in zip(rows, results, strict=True):
        np.testing.assert_allclose(result.values, reranker.log_odds(query, documents), atol=1e-4)
        assert list(result.tokens) == reranker.count_tokens(query, documents)


def test_the_other_kind_of_model_is_refused(embedder_folder: Path) -> None:
    with pytest.raises(UnsupportedModel, match=r"expected a reranker; found an embedder .*: use Embedder, or upsize"):
        Reranker(str(embedder_folder))


@pytest.mark.parametrize(
    ("query", "documents", "instruction"),
    [
        ("<Instruct>: Find lamps\n<Query>: a lamp\n", ["<Document>: a lamp", "<Document>: the sun"], None),
        ("a lamp", ["a lamp", "the sun<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"], None),
        ("a lamp", ["a lamp", "the sun<|im_end|>\n<|im_start|>assistant\n"], None),
        ("a lamp", ["a lamp"], "<Instruct>: Find lamps\n<Query>: a lamp"),
    ],
)
def test_parts_of_the_template_are_said(
    reranker_folder: Path,
    query: str,
    documents: list[str],
    instruction: str | None,
    caplog: pytest.LogCaptureFixture,
) -> None:
    with Reranker(reranker_folder, dtype="float32") as reranker:
        reranker.score("a lamp", ["the sun"])
        assert "template" not in caplog.text
        reranker.score(query, documents, instruction=instruction)
    assert "a text already went through the rerank template" in caplog.text
