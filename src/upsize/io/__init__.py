"""Record readers: text, JSONL, CSV, TSV and Parquet files, plain or compressed. Every command reads files with these.

`source` opens a file, `encoding` and `delimited` find out how it is written, `lines`, `delimited` and `parquet` read
its records. What cannot be found out for certain is refused with the option that says it.
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
