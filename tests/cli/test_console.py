"""Tables on terminals of every width, in files and in pipes: all of their content, always."""

from __future__ import annotations

import io
import re
from collections import Counter

import pytest
from rich.table import Table

from upsize.cli.console import print_table, results

ROWS = [
    ("Qwen3-Embedding-8B+Qwen3-Reranker-4B/20", "0.642 (0.618 to 0.666)", "3,269 (at least 3,139)"),
    ("demo-xs", "0.521 (0.497 to 0.545)", "84.2 (80.9 to 91.0)"),
]


def a_table() -> Table:
    table = Table("candidate", "nDCG@10", "p95 ms", *(f"figure {i}" for i in range(9)), box=None)
    for row in ROWS:
        table.add_row(*row, *(f"{i},000" for i in range(9)))
    return table


def test_in_a_file_each_row_is_a_line_with_all_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "40")
    file = io.StringIO()
    print_table(results(file=file), a_table())
    lines = file.getvalue().splitlines()
    assert len(lines) == 1 + len(ROWS)
    for row, line in zip(ROWS, lines[1:], strict=True):
        assert all(cell in line for cell in (*row, "8,000"))


@pytest.mark.parametrize("width", [20, 40, 80, 120, 200])
def test_on_a_terminal_of_any_width_nothing_is_lost(width: int) -> None:
    file = io.StringIO()
    print_table(results(file=file, force_terminal=True, width=width, no_color=True), a_table())
    told = re.sub(r"\x1b\[[0-9;]*m", "", file.getvalue())
    assert "…" not in told
    cells = [c for r in ROWS for c in (*r, *(f"{i},000" for i in range(9)))]
    cells += ["candidate", "nDCG@10", "p95 ms", *(f"figure {i}" for i in range(9))]
    assert Counter("".join(told.split())) == Counter("".join("".join(cells).split()))
