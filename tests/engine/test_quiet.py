"""Bulk work makes way for whoever computes beside the engine, and never stands still."""

from __future__ import annotations

from pathlib import Path

import pytest

from upsize.compute import load_model
from upsize.engine import EmbedRequest, Engine, Lane, threads

SHORT = ["word " * 100] * 40
LONG = ["word " * 300] * 40
"""Texts that are each longer than a batch."""


@pytest.mark.parametrize("asked", [SHORT, LONG], ids=["short", "longer than a batch"])
def test_bulk_work_waits_while_somebody_wants_the_machine(
    embedder_folder: Path, monkeypatch: pytest.MonkeyPatch, asked: list[str]
) -> None:
    monkeypatch.setattr(threads, "ASIDE", 60.0)  # longer than any machine needs for what is asked here
    engine = Engine({"model": load_model(embedder_folder, dtype="float32")})
    with engine.quiet():
        bulk = engine.submit("model", EmbedRequest(LONG, lane=Lane.BULK))
        # What is asked meanwhile is answered meanwhile, however much of it there is.
        for _ in range(3):  # the second and third find the runner standing aside
            assert engine.submit("model", EmbedRequest(["short"])).result(timeout=30).values.shape[0] == 1
            assert len(engine.submit("model", EmbedRequest(asked)).result(timeout=30).values) == len(asked)
        assert not bulk.done()
    assert len(bulk.result(timeout=60).values) == len(LONG)
    engine.close()


def test_bulk_work_never_stands_still(embedder_folder: Path) -> None:
    engine = Engine({"model": load_model(embedder_folder, dtype="float32")})
    with engine.quiet():
        assert (
            engine.submit("model", EmbedRequest(["a few words"], lane=Lane.BULK)).result(timeout=30).values.shape[0]
            == 1
        )
    engine.close()
