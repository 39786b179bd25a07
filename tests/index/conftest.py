"""Indexes on the demo models: real ones, of three sizes, small enough for tests."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.postgres import database
from upsize.engine import Engine
from upsize.index import Index, ModelPool, Setup, VectorSpec
from upsize.index.creation import create_index

TEXTS = {
    "plants": "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen in the leaves of plants.",
    "soup": "Cut the onions, fry them in butter, add water and let the soup simmer for an hour.",
    "moon": "The Moon goes round the Earth in about twenty-seven days and always shows it the same side.",
    "bank": "To block a lost card, call the bank or use its app; a new card comes by post within a week.",
    "python": "A list comprehension builds a list from an iterable in one expression.",
    "rain": "Heavy rain is expected in the north tonight, with strong wind along the coast.",
}
QUERIES = {
    "how do plants eat light?": "plants",
    "recipe for onion soup": "soup",
    "how long does the moon take around the earth": "moon",
    "my credit card was stolen": "bank",
    "make a list in one line of code": "python",
    "weather forecast for tonight": "rain",
}


@pytest.fixture(scope="session")
def models() -> Iterator[ModelPool]:
    """One engine for all: what an index needs is loaded into it."""
    engine = Engine({})
    shared = ModelPool(engine)
    for size in ("demo-xs", "demo-s"):
        shared.embedder(size, "session")
    yield shared
    engine.close()


@pytest.fixture(scope="session")
def postgres(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with database(tmp_path_factory.mktemp("postgres")) as server:
        yield server.get_uri()


@pytest.fixture(params=["lancedb", "postgresql"])
def store_address(request: pytest.FixtureRequest) -> str:
    address: str = request.getfixturevalue("postgres") if request.param == "postgresql" else request.param
    return address


Make = Callable[..., Index]


@pytest.fixture
def make(tmp_path: Path, models: ModelPool) -> Iterator[Make]:
    """Makes an index, or opens it again where one of that name is there; without threads of its own."""
    opened: list[Index] = []

    def index(name: str | None = None, model: str = "demo-xs", *, background: bool = False, **setup: Any) -> Index:
        name = name or f"i{uuid.uuid4().hex[:8]}"
        folder = tmp_path / name
        if not (folder / "index.json").exists():
            vectors = {k: setup.pop(k) for k in ("dimension", "coarse", "max_length") if k in setup}
            create_index(folder, models, Setup(name, VectorSpec(model, **vectors), **setup))
        opened.append(Index(folder, models, background=background))
        return opened[-1]

    yield index
    for one in opened:
        one.close()
