"""The shipped models: complete, small, what their cards say; a larger size is better here, and not there."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open

from tests import reference
from upsize import Embedder, Reranker
from upsize.compute import load_model
from upsize.demo import NAMES, corpus, folder
from upsize.diagnostics import verify

FAMILY_RESULT = Path(__file__).parents[2] / "benchmarks" / "results" / "demo-family.json"
EMBEDDERS = ("demo-xs", "demo-s", "demo-m")
TEXTS = [
    "What is the capital of China?",
    "北京是中国的首都。",
    "Le ciel est bleu parce que …",
    "def add(a, b): return a + b",
]


def test_three_sizes_and_a_reranker_in_32_megabytes_of_weights() -> None:
    assert set(NAMES) == {*EMBEDDERS, "demo-rerank"}
    assert sum((folder(name) / "model.safetensors").stat().st_size for name in NAMES) <= 32e6


@pytest.mark.parametrize("name", NAMES)
def test_a_card_says_what_the_files_hold(name: str) -> None:
    card = json.loads((folder(name) / "card.json").read_text(encoding="utf-8"))
    with safe_open(folder(name) / "model.safetensors", "pt") as file:
        assert card["parameters"] == sum(math.prod(file.get_slice(tensor).get_shape()) for tensor in file.keys())  # noqa: SIM118
    assert card["weight_bytes"] == (folder(name) / "model.safetensors").stat().st_size
    assert card["training"]["steps"] > 0
    assert card["removed_exact"] > 0
    assert card["removed_near_duplicates"] > 0
    assert {row["licence_class"] for row in card["data"]} <= {"P", "SA"}


def test_the_family_has_one_vocabulary() -> None:
    models = [json.loads((folder(name) / "tokenizer.json").read_text(encoding="utf-8"))["model"] for name in NAMES]
    assert all(model == models[0] for model in models)


@pytest.mark.parametrize("name", EMBEDDERS)
def test_vectors_are_those_of_transformers(name: str) -> None:
    with Embedder(name, dtype="float32") as embedder:
        np.testing.assert_allclose(embedder.encode(TEXTS), reference.vectors(folder(name), TEXTS), atol=1e-5, rtol=0)


def test_log_odds_are_those_of_transformers() -> None:
    with Reranker("demo-rerank", dtype="float32") as reranker:
        np.testing.assert_allclose(
            reranker.log_odds(TEXTS[0], TEXTS),
            reference.log_odds(folder("demo-rerank"), TEXTS[0], TEXTS),
            atol=1e-4,
            rtol=0,
        )


def test_the_largest_is_verified() -> None:
    verification = verify(load_model("demo-m"), batches=2)
    assert verification.ok, verification


def test_a_larger_size_pays_here_and_not_there() -> None:
    differences = json.loads(FAMILY_RESULT.read_text(encoding="utf-8"))["differences"]
    steps = [(one["demo-s − demo-xs"], one["demo-m − demo-s"]) for one in differences.values()]
    assert sum(small["low"] > 0 and large["low"] > 0 for small, large in steps) >= 4
    assert any(large["low"] <= 0 for _, large in steps)


def test_the_corpus_is_a_hundred_texts() -> None:
    rows = corpus()
    assert len({row.id for row in rows}) == len({row.text for row in rows}) == 100
    assert {row.lang for row in rows} == {"en", "zh"}
    assert all(row.id.startswith(row.lang) for row in rows)
