"""Output formats: `.npy`, JSONL, Parquet. Each encodes a block of results as bytes to append.

So the data of a run is one growing file in every format. To resume, a run truncates the file to a known length.
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
"""Type of the id column in Parquet; None: no ids."""


class OutputFormat(Protocol):
    """Encodes results as a file."""

    def header(self) -> bytes:
        """Return the first bytes of the data."""

    def block(self, results: Sequence[Result]) -> bytes:
        """Return the bytes to append for some rows."""

    def build(self, data: Path) -> Path:
        """Return the finished file, made of all the data: `data` itself, or another file in its folder."""


class Npy:
    """A float32 array (rows, dimension) in the input's order: only the column `embedding`."""

    def __init__(self, rows: int, dimension: int) -> None:
        self._shape = (rows, dimension)

    def header(self) -> bytes:
        """Return the .npy header for all expected rows."""
        buffer = io.BytesIO()
        layout = {"descr": "<f4", "fortran_order": False, "shape": self._shape}
        np.lib.format.write_array_header_1_0(buffer, layout)
        return buffer.getvalue()

    def block(self, results: Sequence[Result]) -> bytes:
        """Return the vectors, little-endian."""
        return np.stack([row["embedding"] for row in results]).astype("<f4").tobytes()

    def build(self, data: Path) -> Path:
        """Return the data. If rows were skipped, first write the real row count into the header, of the same length."""
        header, (expected, dimension) = self.header(), self._shape
        rows = (data.stat().st_size - len(header)) // (4 * dimension)
        if rows != expected:
            layout = {"descr": "<f4", "fortran_order": False, "shape": (rows, dimension)}
            with data.open("r+b") as file:
                file.write(header[:10])  # magic bytes, version, and the length of what follows
                file.write(f"{layout}".encode().ljust(len(header) - 11) + b"\n")
        return data


class Jsonl:
    """One JSON object per line: the columns and the fingerprint's id."""

    def __init__(self, fingerprint: str) -> None:
        self._fingerprint = fingerprint

    def header(self) -> bytes:
        """Return no bytes."""
        return b""

    def block(self, results: Sequence[Result]) -> bytes:
        """Return the lines. A float32 has the fewest digits that read back as the same value."""
        options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_APPEND_NEWLINE
        return b"".join(orjson.dumps({**row, "fingerprint": self._fingerprint}, option=options) for row in results)

    def build(self, data: Path) -> Path:
        """Return the data unchanged."""
        return data


class Parquet:
    """A Parquet file: the columns, and `facts` with the fingerprint as JSON under the schema's key `upsize`.

    A Parquet file cannot be appended to after a stop, so the data is an Arrow stream, and `build` makes the file of it.
    """

    def __init__(self, id_type: IdType, columns: Callable[[Any], dict[str, Any]], facts: Mapping[str, Any]) -> None:
        """`columns` takes the module pyarrow and returns name → type of the columns after the common ones."""
        self._pyarrow = arrow = import_pyarrow("Writing Parquet")
        ids = {None: {}, "whole": {"id": arrow.int64()}, "string": {"id": arrow.string()}}[id_type]
        every = {"line": arrow.int64(), "tokens": arrow.int32(), "lost_tokens": arrow.int32()}
        schema = {**ids, **every, **columns(arrow)}
        self._schema = arrow.schema(list(schema.items()))
        self._facts = facts

    def header(self) -> bytes:
        """Return the stream's schema."""
        return bytes(self._schema.serialize())

    def block(self, results: Sequence[Result]) -> bytes:
        """Return a record batch."""
        text_ids = "id" in self._schema.names and self._pyarrow.types.is_string(self._schema.field("id").type)
        rows = [{**row, "id": str(row["id"])} for row in results] if text_ids else results
        arrays = [self._pyarrow.array([row[f.name] for row in rows], f.type) for f in self._schema]
        return bytes(self._pyarrow.record_batch(arrays, schema=self._schema).serialize())

    def build(self, data: Path) -> Path:
        """Write the Parquet file beside the data, row group by row group."""
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
