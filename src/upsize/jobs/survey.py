"""Survey: the whole input read once before anything is computed, so that a bad row is told in the first minute."""

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
"""Bad rows that are listed; the sidecar has all that were skipped."""


@dataclass(frozen=True)
class Survey:
    """What a first reading of the input found."""

    version: tuple[int, int]
    rows: int
    """Good ones."""
    skipped: dict[int, str]
    """Line → why it is left out."""
    ids: IdType
    """What they are: whole numbers of at most 64 bits, or else strings."""


def survey(rows: InputRows[T], error_of: Callable[[T], str | None], *, skip_bad: bool) -> Survey:
    """Read the whole input once; `error_of` says why the model cannot take a value.

    InvalidInput, listing the bad rows, if there are any and they may not be skipped, or if there is no other.
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
            f"{listing(source, skipped)}\nMend them, or leave them out with --skip-bad. Nothing was computed."
        )
    if not good:
        why = f"none of its {len(skipped):,} rows can be used:\n{listing(source, skipped)}" if skipped else "no rows."
        raise InvalidInput(f"{source.name}: {why}")
    return Survey(version, good, skipped, ids)


def listing(source: Source, skipped: Mapping[int, str]) -> str:
    """The first bad rows, one a line, and how many more there are."""
    lines = [f"  {source.unit} {line}: {row_error}" for line, row_error in islice(skipped.items(), SHOWN)]
    more = len(skipped) - SHOWN
    return "\n".join(lines + ([f"  … and {more:,} more"] if more > 0 else []))


def too_long(tokens: int, limit: int) -> str:
    """How a text that is too long is described."""
    return f"{tokens:,} tokens, and at most {limit:,} are taken"
