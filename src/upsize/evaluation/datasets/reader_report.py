"""The report of one reading: its options, its notes, and the rows that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from upsize.errors import InvalidInput
from upsize.evaluation.datasets import fields
from upsize.evaluation.datasets.fields import BadRow, columns_of
from upsize.evaluation.datasets.types import RowError, TaskKind, UnitMetadata
from upsize.io import FOUND_OUT, ReadOptions, Record, Source, open_source

T = TypeVar("T")
SHOWN = 10
"""Row errors that an error message lists."""


@dataclass
class ReaderReport:
    """Options of a reading, and the notes and row errors that it has collected so far."""

    kind: TaskKind | None = None
    split: str | None = None
    fields: Mapping[str, str] = field(default_factory=dict)
    slices: tuple[str, ...] = ()
    reading: ReadOptions = FOUND_OUT
    skip_bad: bool = False
    notes: list[str] = field(default_factory=list)
    row_errors: list[RowError] = field(default_factory=list)

    def open(self, path: Path, name: str) -> Source:
        """Open a file of records, and note an unusual encoding or delimiter. InvalidInput for an empty file."""
        source = open_source(path, name, reading=self.reading)
        if path.stat().st_size == 0:
            raise InvalidInput(f"{name} is empty.")
        self.notes += source.notes
        return source

    def rows(self, table: Source, parse: Callable[[Record], T]) -> Iterator[T]:
        """The result of `parse` for each record. A record that raises BadRow becomes a row error."""
        for record in table.records():
            try:
                if record.row_error:
                    raise BadRow(record.row_error)
                value = parse(record)
            except BadRow as bad:
                self.row_errors.append(RowError(table.name, table.unit, record.line, str(bad)))
                continue
            yield value

    def close(self, name: str, usable: int, noun: str) -> tuple[RowError, ...]:
        """The row errors of a finished reading.

        Raises InvalidInput, with a list, where rows must not be skipped, and where no usable row is left.
        """
        listing = "\n".join(f"  {row_error}" for row_error in self.row_errors[:SHOWN])
        if len(self.row_errors) > SHOWN:
            listing += f"\n  … and {len(self.row_errors) - SHOWN:,} more"
        rows = "1 row" if len(self.row_errors) == 1 else f"{len(self.row_errors):,} rows"
        if self.row_errors and not self.skip_bad:
            raise InvalidInput(
                f"{name}: {rows} cannot be used, {usable:,} {noun} can:\n{listing}\n"
                "Mend them, or leave them out with --skip-bad (skip_bad=True). Nothing was computed."
            )
        if not usable:
            raise InvalidInput(
                f"{name}: no {noun} in it." + (f" None of its rows can be used:\n{listing}" if listing else "")
            )
        if self.row_errors:
            self.notes.append(f"{rows} {'is' if len(self.row_errors) == 1 else 'are'} left out:\n{listing}")
        return tuple(self.row_errors)


class Units:
    """Collects the metadata of units row by row: id, language, slice columns, document or user."""

    def __init__(self, table: Source, report: ReaderReport) -> None:
        columns = columns_of(table, report.fields)
        self._id = columns.get("id")
        self._cluster = columns.get("cluster")
        self._columns = dict.fromkeys((*filter(None, [columns.get("language")]), *report.slices))
        for missing in (name for name in self._columns if name not in table.columns):
            raise InvalidInput(
                f"{table.name} has no field {missing!r} to slice by. Fields: {', '.join(table.columns)}."
            )
        self._lines: dict[str, int] = {}
        self._values: dict[str, list[str | None]] = {name: [] for name in self._columns}
        self._clusters: list[str] = []
        if self._cluster:
            report.notes.append(f"Units of one {self._cluster!r} are resampled together.")

    def add(self, record: Record) -> str:
        """Add a unit and return its id. Raises BadRow for a repeated id and for a missing cluster."""
        unit = fields.name(record, self._id) if self._id else str(record.line)
        if unit in self._lines:
            raise BadRow(f"the id {unit!r} is already in line {self._lines[unit]}")
        cluster = fields.name(record, self._cluster) if self._cluster else ""
        self._lines[unit] = record.line
        self._clusters.append(cluster)
        for name, values in self._values.items():
            value = record.fields.get(name)
            values.append(None if value is None or value == "" else str(value))
        return unit

    def unit_metadata(self, keep: list[int] | None = None) -> UnitMetadata:
        """The metadata of all units, or of the units at the indices `keep`."""
        ids = list(self._lines)
        kept = range(len(ids)) if keep is None else keep
        return UnitMetadata(
            tuple(ids[i] for i in kept),
            {name: tuple(values[i] for i in kept) for name, values in self._values.items()},
            tuple(self._clusters[i] for i in kept) if self._cluster else None,
        )
