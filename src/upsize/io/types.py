"""Types of the readers: formats, read options and records."""

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
"""Suffixes of compression, after any suffix except Parquet's, which compresses itself."""
TEXT = "text"
"""The only field of a text file, and the default field of texts in other files."""
LONGEST = 64 << 20
"""Most characters of a line or field. A longer one means a file without line ends or with an open quote. Chosen."""

END_MARK = "\x1a"
"""^Z, which ends text files of CP/M and DOS and fills their last block. Anywhere else it is a character."""


@dataclass(frozen=True)
class ReadOptions:
    """How files are written, as the user says. None: upsize detects it."""

    encoding: str | None = None
    """Python's name of the encoding."""
    delimiter: str | None = None
    """The character between the fields of a CSV file; also `tab`."""


FOUND_OUT = ReadOptions()
"""Detect everything."""


@dataclass(frozen=True)
class Record:
    """One record of a file: its fields, or its row error."""

    line: int
    """Its first line, or in a Parquet file its row, from 1."""
    fields: dict[str, Any] = field(default_factory=dict)
    row_error: str | None = None


def format_of(path: Path) -> Format | None:
    """Return the format of a file's suffix; None for an unknown suffix."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes and suffixes[-1] in COMPRESSED:
        suffixes.pop()
        if SUFFIXES.get(suffixes[-1] if suffixes else "") is Format.PARQUET:
            return None
    return SUFFIXES.get(suffixes[-1]) if suffixes else None


def stem_of(path: Path) -> str:
    """Return a file's name without the suffixes of its format and compression."""
    stem = path.stem if path.suffix.lower() in COMPRESSED else path.name
    return Path(stem).stem


def find(folder: Path, stem: str) -> Path | None:
    """Return the file of that name with a known suffix, plain or compressed; None if there is none."""
    names = (f"{stem}{suffix}{packed}" for packed in ("", *COMPRESSED) for suffix in SUFFIXES)
    return next((p for name in names if (p := folder / name).is_file() and format_of(p)), None)
