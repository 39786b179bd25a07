"""Ranks the documents of one file for one query, and prints them as a table or as JSONL.

The documents are candidates that a person will read, so all of them are held in memory.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import typer
from numpy.typing import NDArray
from rich.table import Table

from upsize.cli.console import results
from upsize.errors import InvalidInput, TextTooLong
from upsize.io.atomic import write_atomic
from upsize.jobs.input_rows import Pair, TextRows
from upsize.jobs.output_formats import Jsonl
from upsize.jobs.pairing import Pairing
from upsize.jobs.partial_output import guarded
from upsize.jobs.survey import listing, survey, too_long

if TYPE_CHECKING:
    from upsize.engine import Reranker, Result

CHUNK = 64
"""Documents of one request."""


@dataclass(frozen=True)
class Ranking:
    """Documents, best first; each is a dict of output columns."""

    documents: list[dict[str, Any]]
    fingerprint: str
    """The id of the reranker's fingerprint."""


@dataclass(frozen=True)
class OneQuery:
    """Scores documents for one query. See jobs.pairing.Computation."""

    reranker: Reranker
    query: str
    instruction: str
    truncate: bool

    def row_error(self, document: str) -> str | None:
        """Say that a document is too long."""
        pair = Pair(self.query, [document])
        return pair_error(self.reranker, pair, self.instruction, truncate=self.truncate)

    def size(self, _: str) -> int:
        """1: each document is one sequence."""
        return 1

    def stream(self, documents: Iterator[str]) -> Iterator[Result]:
        """Score the documents: log-odds, in order."""
        chunks = iter(lambda: list(islice(documents, CHUNK)), [])
        return self.reranker.stream(((self.query, chunk) for chunk in chunks), self.instruction)

    def columns(self, values: NDArray[np.float32]) -> dict[str, Any]:
        """The score, and the log-odds to sort by: probabilities near 1 round to the same value."""
        return {"log_odds": float(values[0]), "score": float(probabilities(values)[0])}


def rank(
    query: str,
    rows: TextRows,
    reranker: Reranker,
    instruction: str | None,
    *,
    truncate: bool,
    skip_bad: bool,
    top_n: int | None,
) -> Ranking:
    """Score the texts of `rows` for `query`; return the best `top_n` (None: all), best first."""
    work = OneQuery(reranker, query, instruction or reranker.instruction, truncate)
    found = survey(rows, work.row_error, skip_bad=skip_bad)
    failed: dict[int, str] = {}
    good = [row for row in rows if row.line not in found.skipped]
    pairing = Pairing(rows.source, work, failed.__setitem__ if skip_bad else None)
    scored = [result for results in pairing.run(iter(good)) for result in results]
    skipped = dict(sorted({**found.skipped, **failed}.items()))
    if not scored:
        raise InvalidInput(f"{rows.source.name}: none of its rows can be scored:\n{listing(rows.source, skipped)}")
    kept = (row for row in good if row.line not in failed)
    documents = [{**result, "document": row.value} for row, result in zip(kept, scored, strict=True)]
    documents.sort(key=lambda document: -document["log_odds"])
    _report_losses(rows, skipped, [document["lost_tokens"] for document in documents])
    return Ranking(documents[:top_n], reranker.fingerprint.id)


def show(ranking: Ranking, output: Path | None, *, json: bool) -> None:
    """Write JSONL to `output`, or print JSONL if `json`, else a table."""
    lines = Jsonl(ranking.fingerprint).block(ranking.documents)
    if output is not None:
        with guarded(output):
            write_atomic(output, lines)
        typer.echo(f"{output}: {len(ranking.documents):,} documents, best first, fingerprint {ranking.fingerprint}")
    if json:
        sys.stdout.write(lines.decode())
    elif output is None:
        table = Table(box=None, padding=(0, 1))
        for name, style in (("rank", "dim"), ("score", "bold"), ("line", "dim")):
            table.add_column(name, style=style, justify="right")
        table.add_column("document", overflow="ellipsis", no_wrap=True, ratio=1)
        for place, document in enumerate(ranking.documents, 1):
            where = str(document.get("id", document["line"]))
            table.add_row(str(place), f"{document['score']:.4f}", where, " ".join(document["document"].split()))
        results(markup=False).print(table)


def pair_error(reranker: Reranker, pair: Pair, instruction: str, *, truncate: bool) -> str | None:
    """Return why a query with its documents is too long; None if it is not. With `truncate` only the query counts."""
    try:
        counts = reranker.count_tokens(pair.query, [""] if truncate else pair.documents, instruction)
    except TextTooLong as error:
        return f"the query alone makes {too_long(error.tokens, error.limit)}"
    index = int(np.argmax(counts))
    if truncate or counts[index] <= reranker.max_length:
        return None
    which = f"documents[{index}] makes " if len(pair.documents) > 1 else ""
    return which + too_long(counts[index], reranker.max_length)


def probabilities(log_odds: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the scores, 0 to 1."""
    from upsize.model import probability

    return probability(log_odds)


def _report_losses(rows: TextRows, skipped: dict[int, str], lost: list[int]) -> None:
    """Print skipped rows and truncated texts."""
    if skipped:
        typer.echo(f"{len(skipped):,} rows skipped:\n{listing(rows.source, skipped)}", err=True)
    if any(lost):
        typer.echo(f"{np.count_nonzero(lost):,} documents lost {sum(lost):,} tokens to --truncate.", err=True)
