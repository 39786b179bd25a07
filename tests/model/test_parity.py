"""transformers is the reference: every layout gives its numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests import reference
from tests.checkpoints import SENTENCES, Layout
from upsize import Embedder, Reranker
from upsize.compute import load_model
from upsize.engine import Engine, RerankRequest
from upsize.model import open_checkpoint

Folder = Callable[[Layout], Path]
TEXTS = [*SENTENCES, "x", SENTENCES[1] * 20]
QUERY = "What is the capital of China?"

EMBEDDERS = {
    "as published": Layout(),
    "prefixed": Layout(prefixed=True),
    "sharded": Layout(sharded=True),
    "untied": Layout(tied=False),
    "bfloat16 on disk": Layout(dtype="bfloat16"),
    "transformers 5": Layout(transformers_5=True),
    "bare": Layout(sentence_transformers=False),
}
RERANKERS = {
    "as published": Layout(kind="reranker"),
    "sharded": Layout(kind="reranker", sharded=True),
    "transformers 5": Layout(kind="reranker", transformers_5=True),
}


@pytest.fixture(scope="module")
def expected_vectors(checkpoint_folder: Folder) -> np.ndarray:
    return reference.vectors(checkpoint_folder(Layout()), TEXTS)


@pytest.fixture(scope="module")
def expected_log_odds(checkpoint_folder: Folder) -> np.ndarray:
    return reference.log_odds(checkpoint_folder(Layout(kind="reranker")), QUERY, TEXTS)


@pytest.mark.parametrize("layout", EMBEDDERS.values(), ids=EMBEDDERS)
def test_vectors_of_every_embedder_layout(
    layout: Layout, checkpoint_folder: Folder, expected_vectors: np.ndarray
) -> None:
    with Embedder(str(checkpoint_folder(layout)), dtype="float32") as embedder:
        np.testing.assert_allclose(embedder.encode(TEXTS), expected_vectors, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", [Layout(sharded=True, transformers_5=True), Layout(seed=7, heads=4, kv_heads=4)])
def test_vectors_agree_when_transformers_reads_that_layout_itself(layout: Layout, checkpoint_folder: Folder) -> None:
    folder = checkpoint_folder(layout)
    with Embedder(str(folder), dtype="float32") as embedder:
        np.testing.assert_allclose(embedder.encode(TEXTS), reference.vectors(folder, TEXTS), atol=1e-5, rtol=0)


def test_a_query_is_its_prompt_and_text(checkpoint_folder: Folder) -> None:
    folder = checkpoint_folder(Layout())
    expected = reference.vectors(
        folder, [f"Instruct: {reference.TASK}\nQuery:{QUERY}", f"Instruct: Sort\nQuery:{QUERY}"]
    )
    with Embedder(str(folder), dtype="float32") as embedder:
        got = np.stack([embedder.encode_query(QUERY), embedder.encode_query(QUERY, instruction="Sort")])
    np.testing.assert_allclose(got, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("layout", RERANKERS.values(), ids=RERANKERS)
def test_log_odds_of_every_tied_reranker_layout(
    layout: Layout, checkpoint_folder: Folder, expected_log_odds: np.ndarray
) -> None:
    with Reranker(str(checkpoint_folder(layout)), dtype="float32") as reranker:
        np.testing.assert_allclose(reranker.log_odds(QUERY, TEXTS), expected_log_odds, atol=1e-4, rtol=0)


def test_log_odds_of_an_unprefixed_reranker_that_the_user_names(
    checkpoint_folder: Folder, expected_log_odds: np.ndarray
) -> None:
    folder = checkpoint_folder(Layout(kind="reranker", prefixed=False))
    engine = Engine({"m": load_model(str(folder), kind="reranker", device="cpu", dtype="float32")})
    got = engine.submit("m", RerankRequest(QUERY, TEXTS)).result(20).values
    engine.close()
    np.testing.assert_allclose(got, expected_log_odds, atol=1e-4, rtol=0)


def test_log_odds_of_an_untied_reranker(checkpoint_folder: Folder, expected_log_odds: np.ndarray) -> None:
    folder = checkpoint_folder(Layout(kind="reranker", tied=False, sharded=True))
    expected = reference.log_odds(folder, QUERY, TEXTS)
    assert np.abs(expected - expected_log_odds).max() > 0.1, "the stored head must make a difference"
    with Reranker(str(folder), dtype="float32") as reranker:
        np.testing.assert_allclose(reranker.log_odds(QUERY, TEXTS), expected, atol=1e-4, rtol=0)


def test_log_odds_of_a_sequence_classification_conversion(
    checkpoint_folder: Folder, expected_log_odds: np.ndarray
) -> None:
    folder = checkpoint_folder(Layout(kind="reranker", score_head=True))
    with Reranker(str(folder), dtype="float32") as reranker:
        got = reranker.log_odds(QUERY, TEXTS)
    np.testing.assert_allclose(got, reference.classifier_logits(folder, QUERY, TEXTS), atol=1e-4, rtol=0)
    np.testing.assert_allclose(got, expected_log_odds, atol=1e-4, rtol=0)


def test_every_embedder_layout_of_the_same_tensors_has_one_digest(checkpoint_folder: Folder) -> None:
    same = [layout for layout in EMBEDDERS.values() if layout.dtype == "float32"]
    assert len({open_checkpoint(checkpoint_folder(layout)).weights.digest for layout in same}) == 1
