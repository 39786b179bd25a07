"""Real tiny models, loaded once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.networks import loaded
from upsize.compute import LoadedModel


@pytest.fixture(scope="session")
def embedding_model(embedder_folder: Path) -> LoadedModel:
    return loaded(embedder_folder)


@pytest.fixture(scope="session")
def reranking_model(reranker_folder: Path) -> LoadedModel:
    return loaded(reranker_folder)
