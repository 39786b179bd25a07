"""`upsize matrix` as its user sees it, on a family of two tiny sizes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.conftest import Ran
from tests.selection.test_matrix import TINY
from tests.selection.test_report import leaves, read
from upsize.catalog import FamilyMember
from upsize.diagnostics.random_models import config_of
from upsize.selection.matrix import cells as measuring
from upsize.selection.matrix import size_table as building
from upsize.selection.matrix.cells import Cell
from upsize.selection.matrix.child import measure_batch
from upsize.selection.matrix.model_shapes import write_random

LARGER = FamilyMember("Qwen/Qwen3-Embedding-4B", "embedding", 96, 6, 8, 128, 16_000_000, 2_000_000, 40960)


@pytest.fixture
def tiny(monkeypatch: pytest.MonkeyPatch) -> list[Cell]:
    """A family of two tiny sizes; cells are measured for real, in this process. Gives those that were."""
    done: list[Cell] = []

    def here(cell: Cell, model: str, environment: object) -> dict[str, Any]:
        done.append(cell)
        return measure_batch(model, cell.precision, cell.lengths, 0.01, 1, 2, "cpu")

    monkeypatch.setattr(building, "FAMILY", (TINY, LARGER))
    monkeypatch.setattr(measuring, "SMALL", 12_000_000)
    monkeypatch.setattr(measuring, "_in_child", here)
    return done


def test_the_command(upsize: Callable[..., Ran], tmp_path: Path, tiny: list[Cell]) -> None:
    asked = ("matrix", "--sizes", "0.6B", "4B", "--dtype", "bfloat16", "--device", "cpu", "--long-tokens", 48)
    ran = upsize(*asked, "--out", tmp_path, "--json", tmp_path / "copy.json")
    assert ran.code == 0, ran
    for said in ("On this machine", "Recommended use", "article", "64.33", "6 / 12 / 20", "scaled from a few layers"):
        assert said in ran.out
    matrix = json.loads((tmp_path / "matrix.json").read_text())
    assert matrix == json.loads((tmp_path / "copy.json").read_text())
    small, large = matrix["sizes"]
    assert small["precisions"][0]["sentence"]["basis"] == "measured"
    assert large["precisions"][0]["sentence"]["basis"] == "estimated"
    assert large["precisions"][0]["long"]["layers"] == [1, 2]
    assert small["recommended"]["use"]
    reader = read((tmp_path / "index.html").read_text(encoding="utf-8"))
    numbers = {repr(x) for x in leaves(matrix) if isinstance(x, int | float) and not isinstance(x, bool)}
    assert set(reader.values) <= numbers
    measured = len(tiny)
    assert measured == 8 + 6
    (tmp_path / "cells" / next(c for c in tiny if c.name == "long").file).unlink()
    assert upsize(*asked, "--out", tmp_path).code == 0
    assert len(tiny) == measured + 1, "only what was missing is measured again"


def test_a_dry_run_measures_nothing(upsize: Callable[..., Ran], tmp_path: Path, tiny: list[Cell]) -> None:
    ran = upsize("matrix", "--sizes", "4B", "--dtype", "bfloat16", "--out", tmp_path, "--dry-run")
    assert ran.code == 0, ran
    assert "long, 1 of 6 layers" in ran.out
    assert "6 of 6 cells to measure" in ran.err
    assert ran.err.startswith("Measuring the speed of this machine")
    assert tiny == []
    assert not (tmp_path / "matrix.json").exists()


def test_weights_must_be_of_their_size(upsize: Callable[..., Ran], tmp_path: Path, tiny: list[Cell]) -> None:
    folder = write_random(config_of(TINY), 1, tmp_path / "model")
    ran = upsize("matrix", "--weights", f"4B={folder}")
    assert ran.code == 2
    assert "no published shape" in ran.err
    assert upsize("matrix", "--weights", "4B").code == 2
