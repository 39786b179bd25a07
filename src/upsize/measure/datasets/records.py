"""Records of a file: text, JSONL, CSV, TSV or Parquet, one after the other, each with its line and its faults."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TextIO

import orjson

from upsize.errors import InvalidInput, MissingExtra
from upsize.measure.datasets.encoding import Encoding, detect, unreadable
from upsize.measure.datasets.nouns import Fault

SUFFIXES = (".jsonl", ".ndjson", ".csv", ".tsv", ".parquet", ".txt")


@dataclass(frozen=True)
class Record:
    """One record: its fields, or why it has none."""

    number: int
    """Where it begins: the line, or in a Parquet file the row; from 1."""
    fields: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None


@dataclass(frozen=True)
class Table:
    """A file of records."""

    path: Path
    name: str
    """What the user calls it."""
    asked: str | None = None
    """Its encoding, where the user says it."""

    @property
    def suffix(self) -> str:
        """Which tells the format."""
        return self.path.suffix.lower()

    @property
    def unit(self) -> str:
        """What `Record.number` counts."""
        return "row" if self.suffix == ".parquet" else "line"

    @cached_property
    def encoding(self) -> Encoding:
        """How its bytes are read."""
        return Encoding("utf-8") if self.suffix == ".parquet" else detect(self.path, self.name, self.asked)

    @cached_property
    def columns(self) -> tuple[str, ...]:
        """Names of the fields: the header's, the schema's, or those of the first 100 good records of JSONL."""
        if self.suffix == ".parquet":
            return tuple(str(name) for name in _open_parquet(self)[1].schema_arrow.names)
        if self.suffix in (".csv", ".tsv"):
            with self._open() as file:
                return tuple(_header(self, file)[1])
        names: dict[str, None] = {}
        for _, record in zip(range(100), self, strict=False):
            names.update(dict.fromkeys(record.fields))
        return tuple(names)

    def fault(self, record: Record, reason: str) -> Fault:
        """A fault of one of its records."""
        return Fault(self.name, self.unit, record.number, reason)

    def __iter__(self) -> Iterator[Record]:
        """All records. Raises InvalidInput where the file as a whole cannot be read, MissingExtra without pyarrow."""
        if self.suffix == ".parquet":
            return _parquet(self)
        return self._read()

    def _open(self) -> TextIO:
        return self.path.open(encoding=self.encoding.name, errors=self.encoding.errors, newline="")

    def _read(self) -> Iterator[Record]:
        number = 0
        try:
            with self._open() as file:
                reader = _csv(self, file) if self.suffix in (".csv", ".tsv") else _lines(self, file)
                for record in reader:
                    number = record.number
                    yield record
        except UnicodeError as error:
            raise InvalidInput(
                f"{self.name}: broken {self.encoding.name.upper()} after line {number} ({error}). Save it as UTF-8."
            ) from None


def open_table(path: Path, name: str, encoding: str | None = None) -> Table:
    """The file; InvalidInput if it is none, empty, or of no known format."""
    if not path.is_file():
        raise InvalidInput(f"{name}: no such file.")
    if path.stat().st_size == 0:
        raise InvalidInput(f"{name} is empty.")
    if path.suffix.lower() not in SUFFIXES:
        raise InvalidInput(f"{name}: the suffix {path.suffix!r} tells no format (known: {', '.join(SUFFIXES)}).")
    return Table(path, name, encoding)


def _lines(table: Table, file: TextIO) -> Iterator[Record]:
    """Text or JSONL. Only a newline ends a line: texts may hold other separators."""
    rest = ""
    number = 0
    while block := file.read(1 << 20):
        *lines, rest = (rest + block).split("\n")
        for line in lines:
            number += 1
            yield _line(table, number, line.removesuffix("\r"))
    if rest:
        yield _line(table, number + 1, rest.removesuffix("\r"))


def _line(table: Table, number: int, line: str) -> Record:
    fault = None if table.encoding.clean else unreadable(line)
    if fault or not line.strip():
        return Record(number, fault=fault or "an empty line")
    if table.suffix == ".txt":
        return Record(number, {"text": line})
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError as error:
        return Record(number, fault=f"broken JSON ({error.msg} at character {error.pos + 1})")
    if not isinstance(value, dict):
        return Record(number, fault="not a JSON object")
    return Record(number, value)


def _header(table: Table, file: TextIO) -> tuple[Any, list[str]]:
    """(the reader after its header, the header). TSV has no quotes; a CSV's separator is the header's most frequent."""
    csv.field_size_limit(sys.maxsize)  # the module's own limit is 128 KiB, and texts may be longer
    first = file.readline()
    file.seek(0)
    if table.suffix == ".tsv":
        reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
    else:
        delimiter = max(",;\t", key=first.count)
        reader = csv.reader(file, delimiter=delimiter, strict=True)
    try:
        header = [name.strip() for name in next(reader, [])]
    except csv.Error as error:
        raise InvalidInput(f"{table.name}, line 1: a broken CSV header ({error}).") from None
    if len(set(header)) < len(header):
        raise InvalidInput(f"{table.name}, line 1: two columns of one name in the header {', '.join(header)}.")
    return reader, header


def _csv(table: Table, file: TextIO) -> Iterator[Record]:
    reader, header = _header(table, file)
    while True:
        number = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(number, fault=f"broken CSV ({error})")
            continue
        fault = None if len(values) == len(header) else f"{len(values)} fields where the header has {len(header)}"
        if not values:
            fault = "an empty line"
        elif not table.encoding.clean:
            fault = unreadable("\t".join(values)) or fault
        yield Record(number, fault=fault) if fault else Record(number, dict(zip(header, values, strict=True)))


def _parquet(table: Table) -> Iterator[Record]:
    pyarrow, file = _open_parquet(table)
    number = 0
    try:
        for batch in file.iter_batches(batch_size=256):
            for fields in batch.to_pylist():
                number += 1
                yield Record(number, fields)
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInput(f"{table.name}: broken after row {number} ({error}).") from None


def _open_parquet(table: Table) -> tuple[Any, Any]:
    try:
        import pyarrow
        from pyarrow import parquet
    except ImportError:
        raise MissingExtra("Reading Parquet", "pyarrow", "data") from None
    try:
        return pyarrow, parquet.ParquetFile(table.path)
    except pyarrow.ArrowException as error:
        raise InvalidInput(f"{table.name}: not a readable Parquet file ({error}).") from None
