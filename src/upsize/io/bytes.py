"""Opens a file's bytes, decompressed if necessary, and refuses files that are not text by name of their format."""

from __future__ import annotations

import bz2
import gzip
import lzma
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

from upsize.errors import InvalidInput

BROKEN = (EOFError, gzip.BadGzipFile, zlib.error, lzma.LZMAError, OSError)
"""Errors of a damaged compressed file. bz2 raises a plain OSError."""

COMPRESSIONS: tuple[tuple[bytes, Callable[[Path], Any]], ...] = (
    (b"\x1f\x8b", gzip.GzipFile),
    (b"BZh", bz2.BZ2File),
    (b"\xfd7zXZ\x00", lzma.LZMAFile),
)
OTHERS = (
    (b"PK\x03\x04", "a zip archive or an Excel workbook", "Unpack it, or export the sheet as CSV UTF-8."),
    (b"\xd0\xcf\x11\xe0", "an old Excel workbook or Word document", "Export it as CSV UTF-8."),
    (b"PAR1", "a Parquet file", "Say --format parquet, or call it .parquet."),
    (b"ARROW1", "an Arrow file", "Write it as Parquet."),
    (b"Obj\x01", "an Avro file", "Write it as Parquet or JSONL."),
    (b"\x28\xb5\x2f\xfd", "compressed by zstd", "Decompress it: zstd -d."),
    (b"%PDF-", "a PDF document", "Extract its text first."),
    (b"\x93NUMPY", "an array of NumPy", "Give the texts."),
    (b"SQLite format 3\x00", "an SQLite database", "Export the table as CSV."),
)
"""(first bytes, kind of file, advice)."""
OFFICE = {
    ".docx": ("a Word document", "Save it as plain text, UTF-8."),
    ".odt": ("an OpenDocument text", "Save it as plain text, UTF-8."),
    ".pptx": ("a PowerPoint presentation", "Extract its text first."),
    ".epub": ("an e-book", "Extract its text first."),
}
"""Suffixes of zip archives, what they say, and what to do."""


def open_bytes(path: Path) -> IO[bytes]:
    """The file's bytes, through a decompressor where its first bytes name one."""
    with path.open("rb") as plain:
        head = plain.read(8)
    for magic, opener in COMPRESSIONS:
        if head.startswith(magic):
            file: IO[bytes] = opener(path)
            return file
    return path.open("rb")


def refuse_others(path: Path, name: str) -> None:
    """InvalidInput for a file whose first bytes say that it holds no text, and for a damaged compressed one."""
    with open_bytes(path) as file:
        try:
            head = file.read(16)
        except BROKEN as error:
            raise InvalidInput(f"{name}: damaged compressed data ({error}).") from None
    for magic, what, advice in OTHERS:
        if head.startswith(magic):
            if magic.startswith(b"PK"):
                what, advice = OFFICE.get(path.suffix.lower(), (what, advice))
            raise InvalidInput(f"{name} is {what}, not text. {advice}")
