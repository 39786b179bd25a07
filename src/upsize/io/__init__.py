"""Record readers (text, JSONL, CSV, TSV and Parquet files, plain or compressed) and atomic writes, for all commands.

`source` opens a file, `encoding` and `dialect` detect how it is written, `lines`, `delimited` and `parquet` read its
records. A file whose form is ambiguous is refused, with the option that decides. `atomic` replaces files.
"""

from upsize.io.encoding import TextEncoding
from upsize.io.parquet import import_pyarrow
from upsize.io.source import Source, copy_stdin, open_input, open_source
from upsize.io.types import FOUND_OUT, SUFFIXES, TEXT, Format, ReadOptions, Record, find, format_of, stem_of

__all__ = [
    "FOUND_OUT",
    "SUFFIXES",
    "TEXT",
    "Format",
    "ReadOptions",
    "Record",
    "Source",
    "TextEncoding",
    "copy_stdin",
    "find",
    "format_of",
    "import_pyarrow",
    "open_input",
    "open_source",
    "stem_of",
]
