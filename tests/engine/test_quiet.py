"""Bulk work makes way for whoever computes beside the engine, and never stands still."""

from __future__ import annotations

import time
from pathlib import Path

from upsize.compute import load_model
from upsize.engine import EmbedRequest, Engine, Lane
from upsize.engine.threads import ASIDE

LONG = ["word " * 300] * 40


def seconds(engine: Engine, lane: Lane) -> float:
    began = time.monotonic()
    engine.submit("model", EmbedRequest(LONG, lane=lane)).result()
    return time.monotonic() - began


def test_bulk_work_waits_while_somebody_wants_the_machine(embedder_folder: Path) -> None:
    engine = Engine({"model": load_model(embedder_folder, dtype="float32")})
    alone = seconds(engine, Lane.BULK)
    with engine.quiet():
        interactive = seconds(engine, Lane.INTERACTIVE)
        bulk = engine.submit("model", EmbedRequest(LONG, lane=Lane.BULK))
        time.sleep(alone + 2 * ASIDE)
        assert not bulk.done()
        # What is asked meanwhile is answered meanwhile.
        began = time.monotonic()
        engine.submit("model", EmbedRequest(["short"])).result()
        urgent = time.monotonic() - began
        assert not bulk.done()
    bulk.result()
    assert interactive < alone + 2 * ASIDE
    assert urgent < ASIDE
    engine.close()


def test_bulk_work_never_stands_still(embedder_folder: Path) -> None:
    engine = Engine({"model": load_model(embedder_folder, dtype="float32")})
    with engine.quiet():
        assert (
            engine.submit("model", EmbedRequest(["a few words"], lane=Lane.BULK)).result(timeout=30).values.shape[0]
            == 1
        )
    engine.close()
