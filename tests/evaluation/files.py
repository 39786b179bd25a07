"""Users' files, written for the tests."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow
from pyarrow import parquet

Rows = Sequence[Mapping[str, Any]]


def jsonl(path: Path, rows: Rows, encoding: str = "utf-8") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding=encoding)
    return path


def write(path: Path, rows: Rows) -> Path:
    """In the format of the suffix; lists are JSON in CSV and TSV."""
    if path.suffix == ".jsonl":
        return jsonl(path, rows)
    if path.suffix == ".parquet":
        parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)
        return path
    flat = [{k: json.dumps(v) if isinstance(v, list) else v for k, v in row.items()} for row in rows]
    with path.open("w", encoding="utf-8", newline="") as file:
        quoting = csv.QUOTE_NONE if path.suffix == ".tsv" else csv.QUOTE_MINIMAL
        delimiter = "\t" if path.suffix == ".tsv" else ","
        writer = csv.DictWriter(
            file, list(rows[0]), delimiter=delimiter, quoting=quoting, quotechar=None if path.suffix == ".tsv" else '"'
        )
        writer.writeheader()
        writer.writerows(flat)
    return path


def beir(
    folder: Path, corpus: Rows, queries: Rows, qrels: Sequence[tuple[str, str, int]] | None, split: str = "test"
) -> Path:
    jsonl(folder / "corpus.jsonl", corpus)
    jsonl(folder / "queries.jsonl", queries)
    if qrels is not None:
        (folder / "qrels").mkdir(exist_ok=True)
        lines = ["query-id\tcorpus-id\tscore", *(f"{q}\t{d}\t{grade}" for q, d, grade in qrels)]
        (folder / "qrels" / f"{split}.tsv").write_text("\n".join(lines) + "\n")
    return folder


CORPUS = [
    {"_id": "d1", "title": "Tea", "text": "A drink of leaves."},
    {"_id": "d2", "title": "", "text": "Coffee is a drink of beans."},
    {"_id": "d3", "text": "Water has no leaves."},
]
QUERIES = [{"_id": "q1", "text": "leaves?"}, {"_id": "q2", "text": "beans?"}, {"_id": "q3", "text": "nobody asked"}]
QRELS = [("q1", "d1", 2), ("q1", "d3", 0), ("q2", "d2", 1)]
