"""docs/choose.md quotes the calibration as it was measured."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks.calibration import KINDS, filled
from benchmarks.common import RESULTS

DOCUMENT = Path(__file__).parents[2] / "docs" / "choose.md"


def test_the_table_is_that_of_the_result() -> None:
    text = DOCUMENT.read_text(encoding="utf-8")
    assert filled(text) == text, "run: python -m benchmarks.calibration --page"


def test_the_result_keeps_what_is_promised() -> None:
    """In every cell: 93 % covered or more, false "go up" in at most 5 %, the right verdict in at least 78 % at the
    number asked for."""
    result = json.loads((RESULTS / "calibration.json").read_text(encoding="utf-8"))
    assert result["experiments"] >= 2000
    assert all(cell["false_go_up"] <= 0.05 for cell in result["coverage"].values())
    assert all(cell["covered"] >= 0.93 for cell in result["coverage"].values())
    for cell in (*result["rare"].values(), *result["shared"].values()):
        assert cell["covered"] >= 0.93
        assert cell["false_go_up"] <= 0.05
        assert cell["false_stay"] <= 0.05
    for cell in (*result["quality"].values(), *result["quality_of_clusters"].values()):
        assert cell["covered"] >= 0.93
    for cell in result["verdicts"].values():
        assert set(cell["pilots"]) == set(KINDS)
        assert cell["pilots"]["wrong"] <= 0.05
        assert cell["asked_for"] is None or cell["then"]["right"] >= 0.78
