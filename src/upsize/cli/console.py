"""Consoles for results: as wide as the terminal, or in a file or pipe as wide as the result."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

WIDEST = 10_000
"""Columns of a line in a file or a pipe."""


def results(**options: Any) -> Console:
    """Return a console on standard output. `options` are those of rich's Console."""
    console = Console(**{"highlight": False, **options})
    if not console.is_terminal:
        console.width = WIDEST
    return console


def print_table(console: Console, table: Table) -> None:
    """Print a table in full. Cells fold if the terminal is too narrow.

    If even their longest words do not fit, lines exceed the width and the terminal wraps them.
    """
    for column in table.columns:
        column.overflow = "fold"
    least = console.measure(table, options=console.options.update(max_width=WIDEST)).minimum
    if least <= console.width:
        console.print(table)
        return
    with console.capture() as captured:
        width, console.width = console.width, least
        try:
            console.print(table)
        finally:
            console.width = width
    console.file.write(captured.get())
