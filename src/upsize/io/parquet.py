"""Rows of Parquet files."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from upsize.errors import InvalidInput, MissingExtra
from upsize.io.arrow import values_of
from upsize.io.types import Record

BATCH = 256


def import_pyarrow(what: str) -> Any:
    """The module, or MissingExtra saying that `what` needs it."""
    try:
        import pyarrow
    except ImportError:
        raise MissingExtra(what, "pyarrow", "data") from None
    return pyarrow


def read_parquet(path: Path, name: str, wanted: Sequence[str] | None) -> Iterator[Record]:
    """All rows, with at least the fields `wanted` (None: all). A value that Python cannot hold is its row's fault."""
    pyarrow, file = _open(path, name)
    number = 0
    try:
        for batch in file.iter_batches(batch_size=BATCH, columns=wanted):
            for record in _records(pyarrow, batch, number):
                number = record.line
                yield record
    except (pyarrow.ArrowException, OSError) as error:
        raise InvalidInput(f"{name}: broken after row {number} ({error}).") from None


def columns_of_parquet(path: Path, name: str) -> dict[str, bool]:
    """Name → whether it holds text, of the schema's columns."""
    pyarrow, file = _open(path, name)
    return {column.name: _is_text(pyarrow, column.type) for column in file.schema_arrow}


def _records(pyarrow: Any, batch: Any, before: int) -> Iterator[Record]:
    names = batch.schema.names
    try:
        columns = [values_of(pyarrow, column) for column in batch.columns]
    except (ValueError, OverflowError):  # bytes that are not UTF-8, a date that Python has no type for: find the row
        columns = None
    for place in range(batch.num_rows):
        number = before + place + 1
        if columns is not None:
            yield Record(number, {name: values[place] for name, values in zip(names, columns, strict=True)})
            continue
        fields, row = {}, batch.slice(place, 1)
        try:
            for name, column in zip(names, row.columns, strict=True):
                (fields[name],) = values_of(pyarrow, column)
        except (ValueError, OverflowError) as error:
            yield Record(number, row_error=f"a value that cannot be read ({name!r:.80}: {error})")
        else:
            yield Record(number, fields)


def _open(path: Path, name: str) -> tuple[Any, Any]:
    """(pyarrow, the open file)."""
    pyarrow = import_pyarrow("Reading Parquet")
    from pyarrow import parquet

    try:
        file = parquet.ParquetFile(path)
    except pyarrow.ArrowException as error:
        raise InvalidInput(f"{name}: not a readable Parquet file ({error}).") from None
    for column, times in Counter(file.schema_arrow.names).items():
        if times > 1:
            raise InvalidInput(f"{name}: {times} columns are named {column!r:.80}. Give each a name of its own.")
    return pyarrow, file


def _is_text(pyarrow: Any, kind: Any) -> bool:
    types = pyarrow.types
    if types.is_dictionary(kind):
        return _is_text(pyarrow, kind.value_type)
    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))
