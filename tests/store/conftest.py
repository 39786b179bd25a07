"""Every store that is spoken to, for one suite: LanceDB in a folder, a real PostgreSQL, Qdrant's local mode."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgres import database
from upsize.store import Store, open_store

STORES = ("lancedb", "postgresql", "qdrant")


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with database(tmp_path_factory.mktemp("postgres")) as server:
        yield server.get_uri()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    address = request.getfixturevalue("postgres") if request.param == "postgresql" else request.param
    opened = open_store(address, tmp_path / "vectors")
    yield opened
    opened.close()
