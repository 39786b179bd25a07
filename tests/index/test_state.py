"""index.json: replaced as a whole, brought up to date by numbered migrations, refused where it is newer."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from upsize.errors import Refused, UpsizeError
from upsize.fingerprint import Fingerprint
from upsize.index.state import FILE, Generation, State, read_state, write_state

FINGERPRINT = Fingerprint("w", "t", "last-token", "p", 512, 64, True, "bfloat16", "none")
STATE = State(
    schema=1,
    name="a",
    key="0123ab",
    created="2026-01-01T00:00:00Z",
    store="lancedb",
    generations=(Generation("g1", "demo-xs", "bfloat16", 512, FINGERPRINT),),
    active="g1",
)


def test_what_is_written_is_read(tmp_path: Path) -> None:
    write_state(tmp_path, STATE)
    assert read_state(tmp_path) == STATE
    write_state(tmp_path, STATE.replace(truncate=True))
    assert read_state(tmp_path).truncate
    assert [p.name for p in tmp_path.iterdir()] == [FILE]
    assert (tmp_path / FILE).stat().st_mode & 0o077 == 0


def test_numbers_that_no_reply_can_hold_are_brought_within_bounds(tmp_path: Path) -> None:
    write_state(tmp_path, STATE)
    raw = json.loads((tmp_path / FILE).read_bytes())
    raw["rescore"] = {"generation": "g1", "depth": 2**70, "keep_bytes": 2**64}
    raw["rerank"] = {"model": "demo-rerank", "depth": -(2**70)}
    raw["funnel"] = 2**65
    raw["move"] = {"source": "g1", "target": "g1", "phase": "paused", "started": "", "shadow": -1e300, "canary": 7}
    (tmp_path / FILE).write_text(json.dumps(raw))
    state = read_state(tmp_path)
    assert state.rescore is not None
    assert state.rerank is not None
    assert state.move is not None
    assert (state.rescore.depth, state.rescore.keep_bytes) == (1000, 1 << 50)
    assert (state.rerank.depth, state.funnel) == (1, 1000)
    assert (state.move.shadow, state.move.canary) == (0.0, 1.0)


@pytest.mark.parametrize("outside", ["../../../elsewhere", "g1/../../x", "g1\n", "", "G1", "g"])
def test_a_state_whose_tables_would_lie_elsewhere_is_refused(tmp_path: Path, outside: str) -> None:
    write_state(tmp_path, STATE)
    raw = json.loads((tmp_path / FILE).read_bytes())
    generations = [raw["generations"][0] | {"id": outside}]
    for changed in (raw | {"generations": generations}, raw | {"key": f"{outside}/"}, raw | {"name": f"{outside}/"}):
        (tmp_path / FILE).write_text(json.dumps(changed))
        with pytest.raises(UpsizeError, match="is not an index's state"):
            read_state(tmp_path)


def test_a_write_that_fails_leaves_the_old_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_state(tmp_path, STATE)
    for where, broken in ((os, "fsync"), (Path, "replace")):
        with monkeypatch.context() as patch:
            patch.setattr(where, broken, _fail)
            with pytest.raises(OSError, match="no more"):
                write_state(tmp_path, STATE.replace(truncate=True))
        assert read_state(tmp_path) == STATE


def _fail(*_: object) -> None:
    raise OSError("no more")


def test_older_states_are_brought_up_to_date_one_number_at_a_time(tmp_path: Path) -> None:
    write_state(tmp_path, STATE)
    raw = json.loads((tmp_path / FILE).read_bytes())
    raw["called"] = raw.pop("name")
    (tmp_path / FILE).write_text(json.dumps(raw))

    def first(state: dict[str, Any]) -> dict[str, Any]:
        return {k: v for k, v in state.items() if k != "called"} | {"name": state["called"]}

    def second(state: dict[str, Any]) -> dict[str, Any]:
        return state | {"truncate": True}

    state = read_state(tmp_path, (first, second))
    assert (state.schema, state.name, state.truncate) == (3, "a", True)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('{"schema": 99}', "has schema 99, and this version knows 1"),
        ("{", "is not an index's state"),
        ("[]", "is not an index's state"),
        ('{"schema": 1, "name": "a"}', "is not an index's state"),
    ],
)
def test_a_state_that_cannot_be_read_is_told(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / FILE).write_text(text)
    with pytest.raises(UpsizeError, match=told):
        read_state(tmp_path)


def test_a_generation_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(Refused, match="has no generation 'g7': g1"):
        STATE.generation("g7")


def test_a_pointer_to_nothing_is_never_written(tmp_path: Path) -> None:
    write_state(tmp_path, STATE)
    with pytest.raises(AssertionError):
        write_state(tmp_path, STATE.replace(active="g2"))
    assert read_state(tmp_path) == STATE
