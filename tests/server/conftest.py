"""One server with an embedder and a reranker for all tests that do not change its state."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.server.live import live


@pytest.fixture(scope="session")
def server(embedder_folder: Path, reranker_folder: Path) -> Iterator[httpx.Client]:
    with live({"embed": embedder_folder, "rank": reranker_folder}) as client:
        yield client
