"""Shadows: live searches that were asked of the other generation too, and how alike the answers are.

Never called quality: that the larger model ranks otherwise does not say that it ranks better. The searches that differ
most are the ones to label first.
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
"""Of the latest."""

_SCHEMA = """
CREATE TABLE IF NOT EXISTS shadows (
    number INTEGER PRIMARY KEY, pair TEXT NOT NULL, query TEXT NOT NULL, k INTEGER NOT NULL,
    overlap REAL NOT NULL, rbo REAL NOT NULL, answered TEXT NOT NULL, other TEXT NOT NULL);
"""
_LEFT_OUT = "ALTER TABLE shadows ADD COLUMN left_out INTEGER NOT NULL DEFAULT 0"


class Shadows:
    """Of one index. Thread-safe."""

    def __init__(self, folder: Path | None) -> None:
        """None: in memory alone."""
        self._turn = threading.Lock()
        place = folder / FILE if folder else ":memory:"
        with on_disk(folder or Path()):
            self._connect(place)

    def _connect(self, place: Path | str) -> None:
        self._connection = sqlite3.connect(place, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode = WAL")
        self._connection.execute("PRAGMA synchronous = OFF")  # lost, they are collected again
        self._connection.executescript(_SCHEMA)
        if "left_out" not in {row[1] for row in self._connection.execute("PRAGMA table_info(shadows)")}:
            self._connection.execute(_LEFT_OUT)

    def add(
        self, query: str, k: int, answered: SearchResult, other: SearchResult, lacking: Set[str] = frozenset()
    ) -> None:
        """One search, answered by one generation and asked of another. `lacking`: documents that only one of them
        holds, which are not compared."""
        pair = "→".join((answered.generation.id, other.generation.id))
        first, second = ([f for f in a.found if f.document.id not in lacking] for a in (answered, other))
        left_out = len(answered.found) + len(other.found) - len(first) - len(second)
        if left_out:  # to the same depth again
            depth = min(len(first), len(second))
            first, second = first[:depth], second[:depth]
        ids = [f.document.id for f in first], [f.document.id for f in second]
        alike = overlap(*ids, k), rank_biased_overlap(*ids)
        lists = [
            json.dumps([{"id": f.document.id, "text": f.document.text[:200]} for f in found])
            for found in (first, second)
        ]
        with self._turn, on_disk(Path(FILE)):
            c = self._connection
            c.execute(
                "INSERT INTO shadows (pair, query, k, overlap, rbo, answered, other, left_out) "
                "VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (pair, query, k, *alike, *lists, left_out),
            )
            c.execute("DELETE FROM shadows WHERE number <= (SELECT max(number) FROM shadows) - ?", (KEPT,))

    def clear(self) -> None:
        """Forget them: another move begins."""
        with self._turn, on_disk(Path(FILE)):
            self._connection.execute("DELETE FROM shadows")

    def summary(self, examples: int = 5) -> dict[str, Any]:
        """How many, how alike on the mean, and those that differ most."""
        with self._turn:
            c = self._connection
            number, alike, rbo, left_out = c.execute(
                "SELECT count(*), avg(overlap), avg(rbo), coalesce(sum(left_out), 0) FROM shadows"
            ).fetchone()
            rows = c.execute(
                "SELECT query, overlap, rbo, answered, other FROM shadows GROUP BY query ORDER BY rbo, number LIMIT ?",
                (examples,),
            ).fetchall()
        return {
            "searches": number,
            "overlap": alike,
            "rank_biased_overlap": rbo,
            "left_out": left_out,
            "differ_most": [
                {"query": q, "overlap": o, "rank_biased_overlap": r, "answered": json.loads(a), "other": json.loads(b)}
                for q, o, r, a, b in rows
            ],
            "note": "Agreement of two models, not quality. Label the queries that differ most, then compare.",
        }

    def close(self) -> None:
        """Let go."""
        with self._turn:
            self._connection.close()
