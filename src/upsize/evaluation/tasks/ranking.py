"""Ranks a corpus by cosine in blocks, and evaluates rankings with trec_eval through ir-measures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import ir_measures
import numpy as np
from numpy.typing import NDArray

from upsize.evaluation.metrics import Columns
from upsize.evaluation.tasks.base import Ranking

QUERIES, DOCUMENTS = 512, 16384
"""Queries and documents of a block: 32 MB of scores, whatever the size of the corpus. Chosen."""
DEPTH = 100
"""Documents of each query that are ranked: recall@100 needs so many."""


def top_k(
    queries: NDArray[np.float32],
    documents: NDArray[np.float32],
    depth: int,
    priority: NDArray[np.int64],
    without: tuple[NDArray[np.int64], NDArray[np.int64]] | None = None,
) -> Ranking:
    """The `depth` documents nearest to each query by inner product, best first: (queries, min(depth, documents)).

    `without` lists pairs to leave out: indices of queries, ascending, and of documents, both (pairs,). −1 fills the row
    of a query that has too few documents left.

    Documents of equal score are ordered by `priority` (documents,), the smaller first, also where `depth` cuts between
    them, so the result does not depend on the blocks. At most 32 MB of scores exist at a time.
    """
    depth = min(depth, len(documents))
    ranking = np.empty((len(queries), depth), np.int64)
    for first in range(0, len(queries), QUERIES):
        block = queries[first : first + QUERIES]
        row = place = np.empty(0, np.int64)
        score = np.empty(0, np.float32)
        for start in range(0, len(documents), DOCUMENTS):
            scores = block @ documents[start : start + DOCUMENTS].T
            if without is not None:
                _leave_out(scores, first, start, without)
            width = scores.shape[1]
            least = (
                np.partition(scores, width - depth, axis=1)[:, width - depth] if width > depth else scores.min(axis=1)
            )
            if len(row) == len(block) * depth:
                np.maximum(least, score.reshape(-1, depth)[:, -1], out=least)
            new_row, new_place = np.nonzero(scores >= least[:, None])
            score = np.concatenate([score, scores[new_row, new_place]])
            row, place = np.concatenate([row, new_row]), np.concatenate([place, new_place + start])
            order = np.lexsort((priority[place], -score, row))
            row, place, score = row[order], place[order], score[order]
            kept = np.arange(len(row)) - np.searchsorted(row, row) < depth
            row, place, score = row[kept], place[kept], score[kept]
        ranking[first : first + QUERIES] = np.where(np.isneginf(score), -1, place).reshape(-1, depth)
    return ranking


def _leave_out(
    scores: NDArray[np.float32], first: int, start: int, without: tuple[NDArray[np.int64], NDArray[np.int64]]
) -> None:
    """Write −∞ for the pairs within the block of scores that starts at query `first` and document `start`."""
    rows, places = without
    part = slice(*np.searchsorted(rows, (first, first + len(scores))))
    row, place = rows[part] - first, places[part] - start
    inside = (place >= 0) & (place < scores.shape[1])
    scores[row[inside], place[inside]] = -np.inf


def priorities(ids: Sequence[str]) -> NDArray[np.int64]:
    """(documents,) rank of each document by descending id: the order of trec_eval and MTEB for equal scores."""
    order = sorted(range(len(ids)), key=ids.__getitem__, reverse=True)
    result = np.empty(len(ids), np.int64)
    result[order] = np.arange(len(ids))
    return result


def evaluate_ranking(
    ranking: Ranking,
    queries: Sequence[str],
    documents: Sequence[str],
    judgements: Mapping[str, Mapping[str, int]],
    measures: Mapping[str, str],
) -> Columns:
    """Measure each query's ranking. `measures` maps a column to a measure in ir-measures' notation, e.g. `nDCG@10`.

    A query without judgements scores 0, as does a query without a relevant document.
    """
    depth = ranking.shape[1]
    run = {
        query: {documents[place]: float(depth - rank) for rank, place in enumerate(places) if place >= 0}
        for query, places in zip(queries, ranking.tolist(), strict=True)
    }
    rows = {query: row for row, query in enumerate(queries)}
    columns = {ir_measures.parse_measure(measure): np.zeros(len(queries)) for measure in measures.values()}
    qrels = {query: dict(judgements[query]) for query in queries}
    for found in ir_measures.iter_calc(list(columns), qrels, run):
        columns[found.measure][rows[found.query_id]] = found.value
    return {name: columns[ir_measures.parse_measure(measure)] for name, measure in measures.items()}
