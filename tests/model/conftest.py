"""Tokenizers: the tiny one of the test checkpoints, and the published one where the shared data is at hand."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import pytest

from upsize.model.tokenizer import TextTokenizer


@pytest.fixture(scope="session")
def tokenizer(embedder_folder: Path) -> TextTokenizer:
    return TextTokenizer(embedder_folder / "tokenizer.json")


@pytest.fixture(scope="session")
def qwen_tokenizer(shared_data: Path, tmp_path_factory: pytest.TempPathFactory) -> TextTokenizer:
    """Qwen3-Embedding-0.6B's tokenizer, built from the published vocabulary and merges."""
    spec = importlib.util.spec_from_file_location("make_checkpoint", shared_data / "bench" / "make_checkpoint.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    path = tmp_path_factory.mktemp("qwen") / "tokenizer.json"
    module.tokenizer(reranker=False).save(str(path))
    return TextTokenizer(path)
