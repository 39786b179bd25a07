"""Tiny models, loaded once, for the checks to be right and wrong about."""

from __future__ import annotations

from pathlib import Path

import pytest

from upsize.compute import LoadedModel, load_model


@pytest.fixture(scope="session")
def embedder(embedder_folder: Path) -> LoadedModel:
    return load_model(str(embedder_folder), device="cpu")


@pytest.fixture(scope="session")
def reranker(reranker_folder: Path) -> LoadedModel:
    return load_model(str(reranker_folder), device="cpu")
