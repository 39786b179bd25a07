"""docs/choose.md quotes the verdicts as they were reached."""

from __future__ import annotations

import json

from benchmarks.choices import PAGE, WORDS, filled
from benchmarks.common import RESULTS


def test_the_table_is_that_of_the_result() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert filled(text) == text, "run: python -m benchmarks.choices --page"


def test_every_verdict_has_its_case() -> None:
    answers = json.loads((RESULTS / "choices.json").read_text(encoding="utf-8"))["answers"]
    assert {answer["decision"] for answer in answers.values()} == set(WORDS)
