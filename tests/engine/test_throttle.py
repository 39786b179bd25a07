"""Bulk work gives way to callers that compute beside the engine, and never starves."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.engine.scripted import Scripted
from upsize.compute import LoadedModel, load_model
from upsize.engine import EmbedRequest, Engine, Priority, runner

SHORT = ["word " * 100] * 12
LONG = ["word " * 300] * 12
"""Texts that are each longer than a batch."""


@pytest.mark.parametrize("texts", [SHORT, LONG], ids=["short", "longer than a batch"])
def test_bulk_work_waits_while_it_is_throttled(
    embedder_folder: Path, monkeypatch: pytest.MonkeyPatch, texts: list[str]
) -> None:
    monkeypatch.setattr(runner, "THROTTLE_SECONDS", 60.0)  # longer than any machine needs for these requests
    engine = Engine({"model": load_model(embedder_folder, dtype="float32")})
    with engine.throttle_bulk():
        bulk = engine.submit("model", EmbedRequest(LONG, priority=Priority.BULK))
        # Interactive requests are answered meanwhile, however many texts they have.
        for _ in range(3):  # the second and third find the runner standing aside
            assert engine.submit("model", EmbedRequest(["short"])).result(timeout=30).values.shape[0] == 1
            assert len(engine.submit("model", EmbedRequest(texts)).result(timeout=30).values) == len(texts)
        assert not bulk.done()
    assert len(bulk.result(timeout=60).values) == len(LONG)
    engine.close()


def test_throttled_bulk_work_never_starves(embedder_folder: Path) -> None:
    engine = Engine({"model": load_model(embedder_folder, dtype="float32")})
    with engine.throttle_bulk():
        assert (
            engine.submit("model", EmbedRequest(["a few words"], priority=Priority.BULK))
            .result(timeout=30)
            .values.shape[0]
            == 1
        )
    engine.close()


def test_bulk_work_leaves_a_core_to_interactive_requests(
    embedding_model: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = Scripted(embedding_model)
    engine = Engine({"m": model})

    def run(tokens: int, priority: Priority) -> set[bool]:
        model.spared.clear()
        engine.submit("m", EmbedRequest([[5] * (tokens - 1)], priority=priority)).result(timeout=30)
        return {spare for counted, spare in model.spared if counted == tokens}

    monkeypatch.setattr(runner, "SPARE_CORE_SECONDS", 60.0)
    assert run(50, Priority.BULK) == {False}  # no interactive request yet
    assert run(20, Priority.INTERACTIVE) == {False}
    assert run(50, Priority.BULK) == run(60, Priority.SHADOW) == {True}
    monkeypatch.setattr(runner, "SPARE_CORE_SECONDS", 0.0)
    assert run(50, Priority.BULK) == {False}
    with engine.throttle_bulk():
        monkeypatch.setattr(runner, "SPARE_CORE_SECONDS", 60.0)
        assert run(50, Priority.BULK) == {True}
    engine.close()
