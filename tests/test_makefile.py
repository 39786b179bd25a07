"""The Makefile's lists of tests."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_paths_of_tests_in_the_makefile_exist() -> None:
    """A renamed test would otherwise run, or be left out, without a word."""
    named = set(re.findall(r"tests/[\w/.]+", (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert len(named) > 20
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []
