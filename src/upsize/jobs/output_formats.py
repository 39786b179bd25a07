"""Encodings of results: `.npy`, JSONL, Parquet. Each says what a block of results is as bytes to append.

So a run's data is one growing file in every format, and going on after a stop is cutting it at a known length.
"""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, Protocol

import numpy as np
import orjson

from upsize.io import import_pyarrow

ROW_GROUP = 8192
"""Rows of a Parquet row group: 32 MB of vectors at 1024 dimensions."""

Result = Mapping[str, Any]
"""One row of results, by column."""
IdType = Literal["whole", "string"] | None
"""What a row's id is in Parquet, where a column has one type; None: there is none."""


class OutputFormat(Protocol):
    """How results become a file."""

    def header(self) -> bytes:
        """What the data begins with."""

    def block(self, results: Sequence[Result]) -> bytes:
        """What some rows add to it."""

    def build(self, data: Path) -> Path:
        """The finished file, given all the data: `data` itself or another in its folder."""


class Npy:
    """float32 (rows, dimension), in the input's order; the column `embedding` alone."""

    def __init__(self, rows: int, dimension: int) -> None:
        self._shape = (rows, dimension)

    def header(self) -> bytes:
        """The .npy header for all rows that are to come."""
        buffer = io.BytesIO()
        layout = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(buffer, layout)
        return buffer.getvalue()

    def block(self, results: Sequence[Result]) -> bytes:
        """The vectors, little-endian."""
        return np.stack([row["embedding"] for row in results]).astype("<f4").tobytes()

    def build(self, data: Path) -> Path:
        """The data; where rows were left out, with a header as long as the first that says how many there are."""
        header, (expected, dimension) = self.header(), self._shape
        rows = (data.stat().st_size - len(header)) // (4 * dimension)
        if rows != expected:
            layout = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
            with data.open("r+b") as file:
                file.write(header[:10])  # magic bytes, version, and the length of what follows
                file.write(f"{layout}".encode().ljust(len(header) - 11) + b"\n")
        return data


class Jsonl:
    """One object a line: the columns and the fingerprint's id."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint

    def header(self) -> bytes:
        """Nothing."""
        return b""

    def block(self, results: Sequence[Result]) -> bytes:
        """The lines. A float32 is written with as many digits as it takes to read the same one back."""
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
        return b"".join(orjson.dumps({**row, "fingerprint": self._fingerprint}, option=options) for row in results)

    def build(self, data: Path) -> Path:
        """The data, as it is."""
        return data


class Parquet:
    """The columns, and `facts` as they are at the end, fingerprint included, as JSON under the schema's key `upsize`.

    A Parquet file cannot be appended to after a stop, so the data is an Arrow stream, of which the file is made.
    """

    def __init__(self, id_type: IdType, columns: Callable[[Any], dict[str, Any]], facts: Mapping[str, Any]) -> None:
        """`columns` gives, of the module pyarrow, the types of the columns that follow those that every row has."""
        self._pyarrow = arrow = import_pyarrow("Writing Parquet")
        ids = {None: {}, "whole": {"id": arrow.int64()}, "string": {"id": arrow.string()}}[id_type]
        every = {"line": arrow.int64(), "tokens": arrow.int32(), "lost_tokens": arrow.int32()}
        schema = {**ids, **every, **columns(arrow)}
        self._schema = arrow.schema(list(schema.items()))
        self._facts = facts

    def header(self) -> bytes:
        """The stream's schema."""
        return bytes(self._schema.serialize())

    def block(self, results: Sequence[Result]) -> bytes:
        """A record batch."""
        text_ids = "id" in self._schema.names and self._pyarrow.types.is_string(self._schema.field("id").type)
        rows = [{**row, "id": str(row["id"])} for row in results] if text_ids else results
        arrays = [self._pyarrow.array([row[f.name] for row in rows], f.type) for f in self._schema]
        return bytes(self._pyarrow.record_batch(arrays, schema=self._schema).serialize())

    def build(self, data: Path) -> Path:
        """A Parquet file beside the data, written row group by row group."""
        from pyarrow import parquet

        path = data.with_name("output")
        schema = self._schema.with_metadata({"upsize": json.dumps(self._facts)})
        with self._pyarrow.memory_map(str(data)) as file, parquet.ParquetWriter(path, schema) as writer:
            group: list[Any] = []
            for batch in self._pyarrow.ipc.open_stream(file):
                group.append(batch)
                if sum(b.num_rows for b in group) >= ROW_GROUP:
                    writer.write_table(self._pyarrow.Table.from_batches(group))
                    group.clear()
            if group:
                writer.write_table(self._pyarrow.Table.from_batches(group))
        return path
