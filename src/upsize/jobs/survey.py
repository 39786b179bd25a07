"""Survey: reads the whole input once before a job computes anything, so that bad rows are reported early."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import TypeVar

from upsize.errors import InvalidInput
from upsize.io import Source
from upsize.jobs.input_rows import InputRows
from upsize.jobs.output_formats import IdType
from upsize.progress import ProgressBar

T = TypeVar("T")
SHOWN = 10
"""Bad rows to list on the terminal; the sidecar lists all skipped rows."""


@dataclass(frozen=True)
class Survey:
    """The result of reading the input once."""

    version: tuple[int, int]
    rows: int
    """The number of good rows."""
    skipped: dict[int, str]
    """Line → why the row is skipped."""
    ids: IdType
    """Type of the ids: whole numbers of at most 64 bits, or strings."""


def survey(rows: InputRows[T], error_of: Callable[[T], str | None], *, skip_bad: bool) -> Survey:
    """Read the whole input once; `error_of` returns why the model cannot process a value.

    Raises InvalidInput, with a list of the bad rows, if there are bad rows without `skip_bad`, or no good rows.
    """
    source, version = rows.source, rows.source.version()
    good, whole = 0, True
    skipped: dict[int, str] = {}
    ids: IdType = None
    with ProgressBar("checking", unit="rows") as bar:
        for row in rows:
            bar.update()
            row_error = row.row_error or (error_of(row.value) if row.value is not None else None)
            if row_error:
                skipped[row.line] = row_error
                continue
            good += 1
            if row.id is not None:
                whole &= isinstance(row.id, int) and -(1 << 63) <= row.id < 1 << 63
                ids = "whole" if whole else "string"
    if skipped and not skip_bad:
        cut = " (--truncate cuts long texts)" if any("tokens" in row_error for row_error in skipped.values()) else ""
        raise InvalidInput(
            f"{source.name}: {len(skipped):,} of {good + len(skipped):,} rows cannot be used{cut}:\n"
            f"{listing(source, skipped)}\nCorrect them, or skip them with --skip-bad. Nothing was computed."
        )
    if not good:
        why = f"none of its {len(skipped):,} rows can be used:\n{listing(source, skipped)}" if skipped else "no rows."
        raise InvalidInput(f"{source.name}: {why}")
    return Survey(version, good, skipped, ids)


def listing(source: Source, skipped: Mapping[int, str]) -> str:
    """Format the first bad rows, one per line, and the number of further ones."""
    lines = [f"  {source.unit} {line}: {row_error}" for line, row_error in islice(skipped.items(), SHOWN)]
    more = len(skipped) - SHOWN
    return "\n".join(lines + ([f"  … and {more:,} more"] if more > 0 else []))


def too_long(tokens: int, limit: int) -> str:
    """Describe a text that is too long."""
    return f"{tokens:,} tokens, and at most {limit:,} are taken"
