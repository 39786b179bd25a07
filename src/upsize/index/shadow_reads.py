"""Shadow reads: live searches that the other generation of a move answered too, and how similar the results are.

Similarity is not quality: a larger model that ranks differently need not rank better. The searches that differ most are
the ones to label first.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Set
from pathlib import Path
from typing import Any

from upsize.evaluation.ranking_similarity import overlap, rank_biased_overlap
from upsize.index.disk import on_disk
from upsize.index.types import SearchResult

FILE = "shadows.sqlite"
KEPT = 10_000
"""Latest shadow reads that are kept (chosen)."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS shadows (
    number INTEGER PRIMARY KEY, pair TEXT NOT NULL, query TEXT NOT NULL, k INTEGER NOT NULL,
    overlap REAL NOT NULL, rbo REAL NOT NULL, answered TEXT NOT NULL, other TEXT NOT NULL);
"""
_LEFT_OUT = "ALTER TABLE shadows ADD COLUMN left_out INTEGER NOT NULL DEFAULT 0"


class Shadows:
    """The shadow reads of one index. Thread-safe."""

    def __init__(self, folder: Path | None) -> None:
        """`folder` None keeps them in memory only."""
        self._lock = threading.Lock()
        path = folder / FILE if folder else ":memory:"
        with on_disk(folder or Path()):
            self._connect(path)

    def _connect(self, path: Path | str) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")  # if lost, new ones are collected
        self._connection.executescript(_SCHEMA)
        if "left_out" not in {row[1] for row in self._connection.execute("PRAGMA table_info(shadows)")}:
            self._connection.execute(_LEFT_OUT)

    def add(
        self, query: str, k: int, answered: SearchResult, other: SearchResult, lacking: Set[str] = frozenset()
    ) -> None:
        """Record a search and the results of both generations. `lacking`: documents that only one generation holds,
        which are left out of the comparison."""
        pair = "→".join((answered.generation.id, other.generation.id))
        first, second = ([f for f in a.found if f.document.id not in lacking] for a in (answered, other))
        left_out = len(answered.found) + len(other.found) - len(first) - len(second)
        if left_out:  # both lists are cut to the same depth
            depth = min(len(first), len(second))
            first, second = first[:depth], second[:depth]
        ids = [f.document.id for f in first], [f.document.id for f in second]
        similarity = overlap(*ids, k), rank_biased_overlap(*ids)
        lists = [
            json.dumps([{"id": f.document.id, "text": f.document.text[:200]} for f in found])
            for found in (first, second)
        ]
        with self._lock, on_disk(Path(FILE)):
            c = self._connection
            c.execute(
                "INSERT INTO shadows (pair, query, k, overlap, rbo, answered, other, left_out) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (pair, query, k, *similarity, *lists, left_out),
            )
            c.execute("DELETE FROM shadows WHERE number <= (SELECT max(number) FROM shadows) - ?", (KEPT,))

    def clear(self) -> None:
        """Delete all, when another move starts."""
        with self._lock, on_disk(Path(FILE)):
            self._connection.execute("DELETE FROM shadows")

    def summary(self, examples: int = 5) -> dict[str, Any]:
        """Their number, mean similarity, and the searches that differ most."""
        with self._lock:
            c = self._connection
            number, similarity, rbo, left_out = c.execute(
                "SELECT count(*), avg(overlap), avg(rbo), coalesce(sum(left_out), 0) FROM shadows"
            ).fetchone()
            rows = c.execute(
                "SELECT query, overlap, rbo, answered, other FROM shadows GROUP BY query ORDER BY rbo, number LIMIT ?",
                (examples,),
            ).fetchall()
        return {
            "searches": number,
            "overlap": similarity,
            "rank_biased_overlap": rbo,
            "left_out": left_out,
            "differ_most": [
                {"query": q, "overlap": o, "rank_biased_overlap": r, "answered": json.loads(a), "other": json.loads(b)}
                for q, o, r, a, b in rows
            ],
            "note": "Agreement of two models, not quality. Label the queries that differ most, then compare.",
        }

    def close(self) -> None:
        """Close the database."""
        with self._lock:
            self._connection.close()
