"""Tiny models, loaded once, for the checks to be right and wrong about."""

from __future__ import annotations

from pathlib import Path

import pytest

from upsize.compute import LoadedModel, load_model
from upsize.diagnostics import sample_texts as texts


@pytest.fixture(scope="session")
def embedder(embedder_folder: Path) -> LoadedModel:
    return load_model(str(embedder_folder), device="cpu")


@pytest.fixture(scope="session")
def reranker(reranker_folder: Path) -> LoadedModel:
    return load_model(str(reranker_folder), device="cpu")


@pytest.fixture
def fewer_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short ones, and one that is longer than a prefill chunk: enough for a model of three layers."""
    monkeypatch.setattr(
        texts, "parity_texts", lambda tokenizer: [*texts.SHORT[::2], texts.of_length("Chinese", 550, tokenizer)]
    )
    monkeypatch.setattr(texts, "DIFFICULT_TEXTS", {name: text[:400] for name, text in texts.DIFFICULT_TEXTS.items()})


@pytest.fixture
def no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy of this machine does not reach the little servers of the tests."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
