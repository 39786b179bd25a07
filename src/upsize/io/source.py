"""Source: a file of records, opened by the name that the user gives."""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import TextIO

import orjson

from upsize.errors import InvalidInput
from upsize.io.bytes import BROKEN, open_bytes, refuse_others
from upsize.io.delimited import DelimitedReader
from upsize.io.dialect import SAMPLE, Dialect, fields_note, find_dialect, looks_like_table
from upsize.io.encoding import TextEncoding, detect
from upsize.io.lines import read_jsonl, read_text
from upsize.io.parquet import columns_of_parquet, read_parquet
from upsize.io.types import (
    COMPRESSED,
    END_MARK,
    FOUND_OUT,
    SUFFIXES,
    TEXT,
    Format,
    ReadOptions,
    Record,
    format_of,
    stem_of,
)

TABLES = (Format.CSV, Format.TSV)
MARK = "\ufeff"
LOOKED_AT = 100
"""JSONL records whose fields are listed."""


@dataclass
class _Place:
    """The current position of a reader."""

    line: int = 0


@dataclass(frozen=True)
class Source:
    """A file of records. It is streamed, never held in memory. A record that cannot be read has a row error."""

    name: str
    """The name that the user gave."""
    path: Path
    format: Format
    reading: ReadOptions = FOUND_OUT
    format_given: bool = True
    """Whether the user names the format with --format."""

    @property
    def unit(self) -> str:
        """The unit of `Record.line`."""
        return "row" if self.format is Format.PARQUET else "line"

    @property
    def stem(self) -> str:
        """The file's name without suffixes."""
        return stem_of(self.path)

    @cached_property
    def encoding(self) -> TextEncoding:
        """The encoding of its text. Raises InvalidInput if it is ambiguous."""
        if self.format is Format.PARQUET:
            return TextEncoding("utf-8")
        with open_bytes(self.path) as file:
            try:
                return detect(file, self.name, self.reading.encoding)
            except BROKEN as error:
                raise InvalidInput(f"{self.name}: damaged compressed data ({error}).") from None

    @cached_property
    def dialect(self) -> Dialect:
        """How the rows of a CSV or TSV file are split. Raises InvalidInput if that is ambiguous."""
        sample, whole = self.sample()
        tsv = self.format is Format.TSV
        return find_dialect(sample, whole, self.name, tsv=tsv, asked=self.reading.delimiter)

    @cached_property
    def columns(self) -> dict[str, bool]:
        """Field → whether it holds text: from the header, the schema, or the first JSONL records."""
        if self.format is Format.PARQUET:
            return columns_of_parquet(self.path, self.name)
        if self.format is Format.TEXT:
            return {TEXT: True}
        if self.format in TABLES:
            with self._text() as (file, _):
                return dict.fromkeys(DelimitedReader(file, self.name, self.dialect, self.encoding).header, True)
        found: dict[str, bool] = {}
        for record in islice((r for r in self.records() if r.row_error is None), LOOKED_AT):
            for column, value in record.fields.items():
                found[column] = found.get(column, False) or isinstance(value, str)
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes for the user on how the file is written."""
        notes = [self.encoding.note]
        if self.format is Format.CSV and self.dialect.delimiter != "," and self.reading.delimiter is None:
            notes.append(f"{self.name} is separated by {self.dialect.shown}.")
        if self.format is Format.TEXT and not self.format_given:
            notes.append(fields_note(*self.sample(), self.name))
        return tuple(note for note in notes if note)

    def settings(self) -> dict[str, str | None]:
        """Return the settings that shape the records, besides the bytes."""
        separated = self.dialect.delimiter if self.format in TABLES else None
        return {"format": self.format.value, "encoding": self.encoding.name, "delimiter": separated}

    def records(self, wanted: Sequence[str] | None = None) -> Iterator[Record]:
        """Yield all records in order, with at least the fields `wanted` (None: all).

        Raises InvalidInput if the file as a whole cannot be read, MissingExtra for Parquet without pyarrow.
        """
        if self.format is Format.PARQUET:
            yield from read_parquet(self.path, self.name, wanted)
            return
        with self._text() as (file, place):
            for record in self._reader(file):
                place.line = record.line
                yield record

    def require_use_of_reading(self) -> None:
        """Raise InvalidInput for a read option that does not apply to the format."""
        if self.reading.delimiter is not None and self.format not in TABLES:
            raise InvalidInput(f"{self.name} is read as {self.format}, which has no delimiter: leave --delimiter out.")
        if self.reading.encoding is not None and self.format is Format.PARQUET:
            raise InvalidInput(f"{self.name} is Parquet, whose texts are UTF-8: leave --encoding out.")

    def digest(self) -> str:
        """Return the SHA-256 of the file's bytes, 64 hexadecimal digits."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def version(self) -> tuple[int, int]:
        """Return size and time of the last change, which must not change while a job reads the file."""
        stat = self.path.stat()
        return stat.st_size, stat.st_mtime_ns

    def sample(self) -> tuple[str, bool]:
        """Return (the first characters, whether they are the whole file)."""
        with self._text() as (file, _):
            sample = file.read(SAMPLE)
        whole = len(sample) < SAMPLE
        return sample.rstrip(END_MARK) if whole else sample, whole

    def _reader(self, file: TextIO) -> Iterator[Record]:
        if self.format in TABLES:
            return iter(DelimitedReader(file, self.name, self.dialect, self.encoding))
        return (read_text if self.format is Format.TEXT else read_jsonl)(file, self.name, self.encoding)

    @contextmanager
    def _text(self) -> Iterator[tuple[TextIO, _Place]]:
        """Open the file as text. The reader records its position, for the error of a damaged file."""
        encoding, place = self.encoding, _Place()
        try:
            with open_bytes(self.path) as raw:
                file = io.TextIOWrapper(raw, encoding=encoding.name, errors=encoding.errors, newline="")
                if file.read(1) != MARK:  # a mark that the given encoding does not remove
                    file.seek(0)
                yield file, place
        except UnicodeError as error:
            raise InvalidInput(
                f"{self.name}: broken {encoding.name.upper()} after line {place.line} ({error}). Save it as UTF-8."
            ) from None
        except BROKEN as error:
            raise InvalidInput(f"{self.name}: cannot be read after line {place.line} ({error}).") from None


def open_source(
    path: Path,
    name: str,
    format: Format | None = None,  # noqa: A002 (the option's name)
    reading: ReadOptions = FOUND_OUT,
) -> Source:
    """Open the file that the user calls `name`, with the given format or that of its suffix.

    Raises InvalidInput if there is no such file, its format is unknown, or its texts look like records.
    """
    if not path.is_file():
        what = "a folder, not a file" if path.is_dir() else "no such file"
        if path.exists() and not path.is_dir():
            what = "not a regular file: pipe it into `-`, standard input"
        raise InvalidInput(f"{name}: {what}.")
    chosen = format or format_of(path)
    if chosen is not Format.PARQUET:
        refuse_others(path, name)
    if chosen is None:
        array = " A JSON array becomes JSONL by: jq -c '.[]'." if path.suffix.lower() == ".json" else ""
        raise InvalidInput(
            f"{name}: the suffix {path.suffix!r} is of no known format (known: {', '.join(SUFFIXES)}; compressed too: "
            f"{', '.join(COMPRESSED)}). Say --format {', '.join(Format)}.{array}"
        )
    source = Source(name, path, chosen, reading, format is not None)
    if format is None and chosen in (Format.TEXT, *TABLES):
        _refuse_records(source)
    return source


def open_input(
    name: str,
    format: Format | None,  # noqa: A002 (the option's name)
    reading: ReadOptions,
    spool: Callable[[], Path],
) -> Source:
    """Open a command's argument: a file, or `-` for standard input, which is text unless the format is given.

    `spool()` copies standard input first, because it is read more than once. Raises InvalidInput as `open_source`.
    """
    if name != "-":
        source = open_source(Path(name), name, format, reading)
        source.require_use_of_reading()
        return source
    source = Source("standard input", spool(), format or Format.TEXT, reading, format is not None)
    if source.format is not Format.PARQUET:
        refuse_others(source.path, source.name)
    if format is None:
        _refuse_records(source)
    source.require_use_of_reading()
    return source


def copy_stdin(path: Path) -> Path:
    """Copy standard input to `path`, because the check and a resumed run read it again; return `path`."""
    with path.open("wb") as file:
        while block := sys.stdin.buffer.read(1 << 20):
            file.write(block)
    return path


def _refuse_records(source: Source) -> None:
    """Raise InvalidInput if lines look like JSON objects, or a text file looks like a table."""
    sample, whole = source.sample()
    first = sample.lstrip().partition("\n")[0]
    called = source.name[:1].upper() + source.name[1:] if source.name == "standard input" else source.name
    if first.startswith("{") and _is_object(first):
        raise InvalidInput(
            f"{called} looks like JSONL: say --format jsonl, or --format {source.format} if it is {source.format}."
        )
    if source.format is not Format.TEXT:
        return
    if dialect := looks_like_table(sample, whole):
        name = "tsv" if dialect.delimiter == "\t" else "csv"
        raise InvalidInput(
            f"{called} looks like a table separated by {dialect.shown}, and would be read as a text a line: say "
            f"--format {name} (or call it .{name}), or --format text if each line is a text."
        )


def _is_object(line: str) -> bool:
    try:
        return isinstance(orjson.loads(line), dict)
    except orjson.JSONDecodeError:
        return line.startswith('{"')
