"""Records: what a text, JSONL, CSV or Parquet file holds, one after the other, each with its line and its faults.

A file is streamed, never held. A record that cannot be read is given out with its fault, so that whoever reads
decides; none is dropped here.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, TextIO

import orjson

from upsize.errors import InvalidInput, MissingExtra


class Format(StrEnum):
    """How a file is read."""

    TEXT = "text"
    JSONL = "jsonl"
    CSV = "csv"
    PARQUET = "parquet"


SUFFIXES = {
    ".txt": Format.TEXT,
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
    ".parquet": Format.PARQUET,
}
TEXT = "text"
"""The only field of a text file, and the field of other files that is taken if there is one of this name."""
_BOM = b"\xef\xbb\xbf"


@dataclass(frozen=True)
class Record:
    """One record of a file: its fields, or why it has none."""

    line: int
    """Where it begins: the line, or in a Parquet file the row; from 1."""
    fields: dict[str, Any] = field(default_factory=dict)
    fault: str | None = None


@dataclass(frozen=True)
class Source:
    """A file of records."""

    name: str
    """What the user calls it."""
    path: Path
    format: Format

    @property
    def unit(self) -> str:
        """What `Record.line` counts."""
        return "row" if self.format is Format.PARQUET else "line"

    def records(self, wanted: Sequence[str] | None = None) -> Iterator[Record]:
        """All records, in order, with at least the fields `wanted` (None: all).

        Raises InvalidInput where the file as a whole cannot be read, MissingExtra for Parquet without pyarrow.
        """
        if self.format is Format.PARQUET:
            return _parquet(self, wanted)
        return {Format.TEXT: _text, Format.JSONL: _jsonl, Format.CSV: _csv}[self.format](self)

    def digest(self) -> str:
        """SHA-256 of the file's bytes, 64 hexadecimal digits."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def version(self) -> tuple[int, int]:
        """Size and time of the last change: while a run reads the file, they must stay."""
        stat = self.path.stat()
        return stat.st_size, stat.st_mtime_ns

    def columns(self) -> dict[str, bool]:
        """Name → whether it holds text, of the fields: a Parquet file's schema, or what the first good record has."""
        if self.format is Format.PARQUET:
            pyarrow, file = _open_parquet(self)
            return {column.name: _is_text(pyarrow, column.type) for column in file.schema_arrow}
        first = next((record.fields for record in self.records() if record.fault is None), {})
        return {name: isinstance(value, str) for name, value in first.items()}


def open_source(name: str, format: Format | None, spool: Callable[[], Path]) -> Source:  # noqa: A002 (the option's name)
    """The source that the user calls `name`; for `-`, standard input, which is first copied to `spool()`.

    The format is told by the suffix unless given. Raises InvalidInput for a file that is none, or of no known format.
    """
    if name == "-":
        if format in (Format.CSV, Format.PARQUET):
            raise InvalidInput(f"Standard input is read as text or JSONL, not {format}: write it to a file first.")
        path = spool()
        with path.open("rb") as file:
            if format is None and file.read(512).removeprefix(_BOM).lstrip().startswith(b'{"'):
                raise InvalidInput(
                    "Standard input looks like JSONL: say --format jsonl, or --format text if it is text."
                )
        return Source("standard input", path, format or Format.TEXT)
    path = Path(name)
    if not path.is_file():
        raise InvalidInput(f"{name}: {'a folder, not a file' if path.is_dir() else 'no such file'}.")
    told = format or SUFFIXES.get(path.suffix.lower())
    if told is None:
        raise InvalidInput(
            f"{name}: the suffix {path.suffix!r} tells no format (known: {', '.join(SUFFIXES)}). "
            "Say --format text, jsonl, csv or parquet."
        )
    return Source(name, path, told)


def copy_stdin(path: Path) -> Path:
    """Copy standard input to `path`, because checking it and going on after a stop both mean reading it again."""
    with path.open("wb") as file:
        while block := sys.stdin.buffer.read(1 << 20):
            file.write(block)
    return path


def _lines(path: Path) -> Iterator[bytes]:
    """Lines without their ends. Only a newline ends a line: texts may hold other separators."""
    with path.open("rb") as file:
        for number, line in enumerate(file):
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            yield line if number else line.removeprefix(_BOM)


def _bad_utf8(line: bytes) -> str | None:
    try:
        line.decode()
    except UnicodeDecodeError as error:
        return f"not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1})"
    return None


def _text(source: Source) -> Iterator[Record]:
    for number, line in enumerate(_lines(source.path), 1):
        fault = _bad_utf8(line)
        yield Record(number, fault=fault) if fault else Record(number, {TEXT: line.decode()})


def _jsonl(source: Source) -> Iterator[Record]:
    for number, line in enumerate(_lines(source.path), 1):
        if not line.strip():
            yield Record(number, fault="an empty line")
            continue
        try:
            value = orjson.loads(line)
        except orjson.JSONDecodeError as error:
            yield Record(number, fault=_bad_utf8(line) or f"broken JSON ({error.msg} at character {error.pos + 1})")
            continue
        if isinstance(value, dict):
            yield Record(number, value)
        else:
            yield Record(number, fault=f"a JSON {_json_type(value)}, not an object")


def _json_type(value: object) -> str:
    names = {type(None): "null", bool: "boolean", int: "number", float: "number", str: "string", list: "array"}
    return names.get(type(value), "object")


def _csv(source: Source) -> Iterator[Record]:
    csv.field_size_limit(sys.maxsize)  # the module's own limit is 128 KiB, and texts may be longer
    # What is no UTF-8 becomes lone surrogates, so that it is the fault of its own record alone.
    with source.path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        yield from _csv_records(source, file)


def _csv_records(source: Source, file: TextIO) -> Iterator[Record]:
    reader = csv.reader(file, strict=True)
    try:
        header = next(reader, [])
    except csv.Error as error:
        raise InvalidInput(f"{source.name}, line 1: a broken CSV header ({error}).") from None
    if len(set(header)) < len(header):
        raise InvalidInput(f"{source.name}, line 1: two columns of one name in the header {', '.join(header)}.")
    while True:
        line = reader.line_num + 1
        try:
            values = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield Record(line, fault=f"broken CSV ({error})")
            continue
        fault = None if len(values) == len(header) else f"{len(values)} fields where the header has {len(header)}"
        if not values:
            fault = "an empty line"
        elif any("\udc80" <= character <= "\udcff" for value in values if not value.isascii() for character in value):
            fault = "not UTF-8"
        yield Record(line, fault=fault) if fault else Record(line, dict(zip(header, values, strict=True)))


def _parquet(source: Source, wanted: Sequence[str] | None) -> Iterator[Record]:
    pyarrow, file = _open_parquet(source)
    number = 0
    try:
        for batch in file.iter_batches(batch_size=256, columns=wanted):
            for fields in batch.to_pylist():
                number += 1
                yield Record(number, fields)
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInput(f"{source.name}: broken after row {number} ({error}).") from None


def _open_parquet(source: Source) -> tuple[Any, Any]:
    """(pyarrow, the open file)."""
    pyarrow = import_pyarrow("Reading Parquet")
    from pyarrow import parquet

    try:
        return pyarrow, parquet.ParquetFile(source.path)
    except pyarrow.ArrowException as error:
        raise InvalidInput(f"{source.name}: not a readable Parquet file ({error}).") from None


def _is_text(pyarrow: Any, kind: Any) -> bool:
    types = pyarrow.types
    if types.is_dictionary(kind):
        return _is_text(pyarrow, kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def import_pyarrow(what: str) -> Any:
    """The module, or MissingExtra saying that `what` needs it."""
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra(what, "pyarrow", "data") from None
    return pyarrow
