"""What readers share: formats, how a user asks for a file to be read, and one record."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any


class Format(StrEnum):
    """How a file is read."""

    TEXT = "text"
    JSONL = "jsonl"
    CSV = "csv"
    TSV = "tsv"
    PARQUET = "parquet"


SUFFIXES = {
    ".jsonl": Format.JSONL,
    ".ndjson": Format.JSONL,
    ".csv": Format.CSV,
    ".tsv": Format.TSV,
    ".tab": Format.TSV,
    ".parquet": Format.PARQUET,
    ".txt": Format.TEXT,
}
COMPRESSED = (".gz", ".bz2", ".xz")
"""May follow any of these suffixes but Parquet's, which compresses itself."""
TEXT = "text"
"""The only field of a text file, and the field of other files that is taken if there is one of this name."""
LONGEST = 64 << 20
"""Characters of one line or field. A longer one is no text, but a file without line ends or with an open quote."""

END_MARK = "\x1a"
"""^Z, with which CP/M and DOS end text files, and fill their last block. Anywhere else it is a character."""


@dataclass(frozen=True)
class ReadOptions:
    """How the user says that files are written. None: found out."""

    encoding: str | None = None
    """Python's name of it."""
    delimiter: str | None = None
    """The character between the fields of a CSV file; also `tab`."""


FOUND_OUT = ReadOptions()
"""Nothing is said."""


@dataclass(frozen=True)
class Record:
    """One record of a file: its fields, or why it has none."""

    line: int
    """Where it begins: the line, or in a Parquet file the row; from 1."""
    fields: dict[str, Any] = field(default_factory=dict)
    row_error: str | None = None


def format_of(path: Path) -> Format | None:
    """The format that a file's suffix tells; None where it tells none."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
        if SUFFIXES.get(suffixes[-1] if suffixes else "") is Format.PARQUET:
            return None
    return SUFFIXES.get(suffixes[-1]) if suffixes else None


def stem_of(path: Path) -> str:
    """A file's name without the suffixes of its format and compression."""
    stem = path.stem if path.suffix.lower() in COMPRESSED else path.name
    return Path(stem).stem


def find(folder: Path, stem: str) -> Path | None:
    """The file of that name with a known suffix, plain or compressed."""
    names = (f"{stem}{suffix}{packed}" for packed in ("", *COMPRESSED) for suffix in SUFFIXES)
    return next((p for name in names if (p := folder / name).is_file() and format_of(p)), None)
