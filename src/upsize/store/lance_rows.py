"""Rows of a table as Arrow columns, which LanceDB reads and returns."""

from __future__ import annotations

import json

import numpy as np
import pyarrow as pa

from upsize.store.base import Table, VectorRows, Vectors, cut
from upsize.store.lance_filters import typed


def schema(table: Table) -> pa.Schema:
    """Return the columns of a table; `coarse` only if it has coarse vectors."""
    fields = [
        pa.field("id", pa.string(), nullable=False),
        pa.field("number", pa.int64()),
        pa.field("vector", pa.list_(pa.float32(), table.dimension)),
        pa.field("metadata", pa.json_()),
    ]
    if table.coarse:
        fields.append(pa.field("coarse", pa.list_(pa.float32(), table.coarse)))
    return pa.schema(fields)


def arrow(table: Table, rows: VectorRows) -> pa.Table:
    """Return rows with their vectors, and their metadata in the form that filters read."""
    columns = {
        "id": pa.array(list(rows.ids), pa.string()),
        "number": pa.array(list(rows.numbers), pa.int64()),
        "vector": _vectors(rows.vectors),
        "metadata": pa.ExtensionArray.from_storage(
            pa.json_(), pa.array([json.dumps(typed(m)) for m in rows.metadata], pa.string())
        ),
    }
    if table.coarse:
        columns["coarse"] = _vectors(cut(rows.vectors, table.coarse))
    return pa.Table.from_arrays(list(columns.values()), schema=schema(table))


def _vectors(vectors: Vectors) -> pa.Array:
    flat = np.ascontiguousarray(vectors, np.float32).ravel()
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), vectors.shape[1])


def matrix(column: pa.ChunkedArray, dimension: int) -> Vectors:
    """Return a column of vectors as an array (rows, dimension)."""
    if not len(column):
        return np.empty((0, dimension), np.float32)
    joined = column.combine_chunks()
    values: Vectors = joined.flatten().to_numpy(zero_copy_only=False).reshape(len(column), dimension)
    return values
