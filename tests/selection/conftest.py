"""Two tiny embedders of unlike size, a reranker, and little data to compare them by."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.checkpoints import EMBEDDER, RERANKER, SENTENCES, Layout

# In bfloat16, which the compiled kernels carry: no process need import torch.
SMALLER, RANKS = (replace(layout, dtype="bfloat16") for layout in (EMBEDDER, RERANKER))
LARGER = Layout(layers=4, intermediate_size=128, seed=5, dtype="bfloat16")


@pytest.fixture(scope="session")
def small(checkpoint_folder: Callable[[Layout], Path]) -> str:
    return str(checkpoint_folder(SMALLER))


@pytest.fixture(scope="session")
def large(checkpoint_folder: Callable[[Layout], Path]) -> str:
    return str(checkpoint_folder(LARGER))


@pytest.fixture(scope="session")
def reranker(checkpoint_folder: Callable[[Layout], Path]) -> str:
    return str(checkpoint_folder(RANKS))


@pytest.fixture(scope="session")
def questions(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """40 queries, the beginnings of 40 texts."""
    path = tmp_path_factory.mktemp("data") / "questions.jsonl"
    texts = [f"{SENTENCES[i % 10]} Number {i}, {SENTENCES[(i * 7 + 3) % 10]}" for i in range(40)]
    rows = [
        {"query": text[:30] + f" {i}", "positive": text, "language": "en" if i % 2 else "de"}
        for i, text in enumerate(texts)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """60 texts of three labels."""
    path = tmp_path_factory.mktemp("data") / "labelled.csv"
    rows = [f'"{SENTENCES[i % 3]} {i}",{"abc"[i % 3]}' for i in range(60)]
    path.write_text("text,label\n" + "\n".join(rows) + "\n")
    return path
