"""Fixtures of several rooms: tiny checkpoints, written once a session, and the data beside the repository."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import hypothesis
import pytest

# Tiny networks are faster on one core, and results do not depend on how many there are. Read by what comes next.
os.environ.setdefault("OMP_NUM_THREADS", "1")

from tests.checkpoints import EMBEDDER, RERANKER, Layout, write_checkpoint
from upsize.diagnostics import rates

SHARED_VARIABLE = "UPSIZE_SHARED"
"""Names another place for the shared folder."""


# The same examples every time and everywhere, at whatever speed.
hypothesis.settings.register_profile("upsize", deadline=None, derandomize=True, database=None, max_examples=60)
hypothesis.settings.load_profile("upsize")


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Packed weights and indexes go to folders of the session's own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UPSIZE_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.setenv("UPSIZE_INDEXES", str(tmp_path_factory.mktemp("indexes")))
        yield


@pytest.fixture(autouse=True)
def quick_rates(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's rates are measured on a few tiny layers, and take a moment instead of ten seconds."""
    tiny = {size: (replace(rates.SMALL, hidden_size=size, intermediate_size=512), (1, 2)) for size in (128, 256)}
    monkeypatch.setattr(rates, "SHAPES", tiny)
    monkeypatch.setattr(rates, "BLOCK", 1 << 16)
    monkeypatch.setattr(rates, "SECONDS", 0.02)


@pytest.fixture(scope="session")
def checkpoint_folder(tmp_path_factory: pytest.TempPathFactory) -> Callable[[Layout], Path]:
    """Layout → a folder with a checkpoint of it, written once. Read-only: `checkpoints.copy_of` gives one to damage."""
    written: dict[Layout, Path] = {}

    def folder(layout: Layout) -> Path:
        if layout not in written:
            written[layout] = write_checkpoint(tmp_path_factory.mktemp(layout.kind, numbered=True), layout)
        return written[layout]

    return folder


@pytest.fixture(scope="session")
def embedder_folder(checkpoint_folder: Callable[[Layout], Path]) -> Path:
    """A tiny embedder in float32, laid out as Qwen3-Embedding-0.6B."""
    return checkpoint_folder(EMBEDDER)


@pytest.fixture(scope="session")
def reranker_folder(checkpoint_folder: Callable[[Layout], Path]) -> Path:
    """A tiny reranker in float32, laid out as Qwen3-Reranker-0.6B."""
    return checkpoint_folder(RERANKER)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The `shared` folder beside the repository: real tokenizer files, data sets, published scores."""
    folder = Path(os.environ.get(SHARED_VARIABLE) or Path(__file__).resolve().parents[2] / "shared")
    if not (folder / "data").is_dir():
        pytest.skip(f"no shared data in {folder}: set {SHARED_VARIABLE} to the folder that holds data/ and bench/")
    return folder
