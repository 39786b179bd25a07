"""Comparison of search variants on labelled queries: quality, by the statistics of `choose`, and latency.

For a move: is the new generation worse, better, or undecided? For the cascade: which stage is worth its latency?
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from upsize.compute.contention import BUSY, Contention
from upsize.engine import Priority
from upsize.errors import InvalidInput, Refused
from upsize.evaluation.datasets import RetrievalData, load_dataset
from upsize.evaluation.datasets.own_documents import own_of
from upsize.evaluation.metrics import Mean
from upsize.evaluation.statistics import sample_of
from upsize.evaluation.tasks.grouping import Grouping, grouping_of
from upsize.evaluation.tasks.lint import lint_grades
from upsize.evaluation.tasks.ranking import evaluate_ranking
from upsize.index.bisection import CANNOT
from upsize.index.coverage import coverage, ready
from upsize.index.index import Index
from upsize.index.state import Move, Rerank, Rescore
from upsize.index.types import SearchRequest
from upsize.io import FOUND_OUT, ReadOptions
from upsize.migration.labels import LabelledQuery, Relevant
from upsize.migration.move import record_verdict
from upsize.number_format import short
from upsize.selection.comparison import CONFIDENCE, Analysis, compare_candidates
from upsize.selection.wording import metric_text, too_few_text

DEPTH = 10
"""Results of each query that are judged: nDCG@10 uses no more."""
MOST_HIDDEN = 500
"""Documents that a comparison leaves out at most because one generation lacks them (chosen)."""
DELTA = 0.01
"""Difference of nDCG@10 below which it does not matter (chosen)."""

Hear = Callable[[int, int], None]


@dataclass(frozen=True)
class SearchVariant:
    """One variant of a search."""

    name: str
    question: SearchRequest
    """Settings of its searches."""


@dataclass(frozen=True)
class Labelled:
    """Queries, with judgements of documents of the index."""

    queries: tuple[str, ...]
    judgements: Mapping[str, Mapping[str, int]]
    """Position of the query, as a string → id of the document → grade."""
    notes: tuple[str, ...]
    own: tuple[str | None, ...] = ()
    """For each query the document that it is a copy of, or None; empty where no query is a copy."""

    @property
    def grouping(self) -> Grouping:
        """Groups of queries that are not independent."""
        relevant = [{d for d, grade in grades.items() if grade > 0} for grades in self.judgements.values()]
        texts = [(query,) for query in self.queries]
        return grouping_of(texts, [None] * len(texts), relevant, None, "queries")

    def only(self, places: Sequence[int]) -> Labelled:
        """The queries at these positions, renumbered."""
        judgements = {str(new): self.judgements[str(old)] for new, old in enumerate(places)}
        own = tuple(self.own[place] for place in places) if self.own else ()
        return Labelled(tuple(self.queries[place] for place in places), judgements, self.notes, own)


def read_labelled(path: Path | str, reading: ReadOptions = FOUND_OUT) -> tuple[list[LabelledQuery], tuple[str, ...]]:
    """Read labelled queries of a file or folder as `choose` does; and notes on what was detected."""
    data = load_dataset(path, encoding=reading.encoding, delimiter=reading.delimiter)
    if not isinstance(data, RetrievalData) or not any(data.judgements.values()):
        raise InvalidInput(f"{path} is {data.kind}; comparing answers needs queries with judgements (docs/data.md).")
    own = own_of(data)
    named = {d for grades in data.judgements.values() for d in grades} | {data.document_ids[d] for d in own.values()}
    texts = {id: text for id, text in zip(data.document_ids, data.documents, strict=True) if id in named}

    def document(id: str, grade: int = 1) -> Relevant:
        return Relevant(id, texts.get(id), grade)

    queries = [
        LabelledQuery(
            query,
            tuple(document(d, grade) for d, grade in data.judgements[unit].items()),
            document(data.document_ids[own[place]]) if place in own else None,
        )
        for place, (query, unit) in enumerate(zip(data.queries, data.unit_metadata.ids, strict=True))
    ]
    return queries, data.notes


def place_labels(index: Index, queries: Sequence[LabelledQuery], hidden: Set[str] = frozenset()) -> Labelled:
    """Map judgements to documents of the index: by text where the index has a document of that text, otherwise by id.

    Notes count relevant documents that the index lacks or that are `hidden`, and queries without any relevant
    document, which are left out. Raises InvalidInput where fewer than two queries are left.
    """
    every = [r for q in queries for r in (*q.relevant, *([q.own] if q.own else []))]
    here = index.documents.get([r.id for r in every if r.id is not None])
    unlike = [r.text for r in every if r.text is not None and (r.id not in here or here[r.id].text != r.text)]
    by_text = index.documents.ids_of_texts(unlike)

    def find(relevant: Relevant) -> str | None:
        by_id = relevant.id if relevant.id in here else None
        return by_text.get(relevant.text, by_id) if relevant.text is not None else by_id

    asked: list[str] = []
    judgements: dict[str, dict[str, int]] = {}
    own: list[str | None] = []
    lost = 0
    for query in queries:
        found = [(find(r), r.grade) for r in query.relevant]
        places = [(None if place in hidden else place, grade) for place, grade in found]
        lost += sum(grade > 0 and place is None for place, grade in places)
        kept = {place: grade for place, grade in places if place is not None}
        if any(grade > 0 for grade in kept.values()):
            judgements[str(len(asked))] = kept
            itself = find(query.own) if query.own else None
            own.append(None if itself is None or kept.get(itself, 0) > 0 else itself)
            asked.append(query.query)
    if len(asked) < 2:
        raise InvalidInput(
            f"Of the documents that are judged relevant, {index.name!r} holds those of {len(asked)} queries, and at "
            "least two are needed. Judge documents of this index, by their ids or by their texts.",
            param="queries",
        )
    notes = []
    if lost:
        notes.append(f"{lost:,} relevant documents are not in the index; they are not counted.")
    if hidden:
        notes.append(f"{len(hidden):,} documents are not in both generations yet; they are left out of both answers.")
    if len(asked) < len(queries):
        notes.append(f"{len(queries) - len(asked):,} queries have no relevant document in the index: not asked.")
    notes += lint_grades(grade for grades in judgements.values() for grade in grades.values())
    if count := sum(id is not None for id in own):
        notes.append(f"{count:,} queries are documents of the index; a query's own document is left out.")
    data = Labelled(tuple(asked), judgements, (), tuple(own))
    return replace(data, notes=(*notes, *data.grouping.notes))


@dataclass(frozen=True)
class Comparison:
    """Measurements of several variants, in their order."""

    ways: tuple[str, ...]
    values: NDArray[np.float64]
    """(queries, ways): nDCG@10."""
    seconds: NDArray[np.float64]
    """(queries, ways): seconds of each search, one at a time."""
    judged: Analysis
    distinct: int
    """Number of distinct queries."""
    notes: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Each variant with its interval and latency, and all pairwise differences."""
        quality, found = self.judged.quality, self.judged.differences
        pairs = [(i, j) for i in range(len(self.ways)) for j in range(i + 1, len(self.ways))]
        quantiles = np.quantile(self.seconds, [0.5, 0.95], axis=0) * 1e3
        return {
            "metric": "nDCG@10",
            "queries": len(self.values),
            "independent": self.judged.independent,
            "too_few": self.judged.too_few,
            "confidence": CONFIDENCE,
            "ways": [
                {
                    "name": way,
                    "estimate": float(quality.estimate[i]),
                    "lower": float(quality.lower[i]),
                    "upper": float(quality.upper[i]),
                    "p50_ms": float(quantiles[0, i]),
                    "p95_ms": float(quantiles[1, i]),
                }
                for i, way in enumerate(self.ways)
            ],
            "differences": [
                {
                    "from": self.ways[i],
                    "to": self.ways[j],
                    "estimate": float(found.estimate[k]),
                    "lower": float(found.lower[k]),
                    "upper": float(found.upper[k]),
                    "p": float(self.judged.p_adjusted[k]),
                }
                for k, (i, j) in enumerate(pairs)
            ],
        }


def compare_ways(
    index: Index,
    data: Labelled,
    ways: Sequence[SearchVariant],
    *,
    delta: float = DELTA,
    seed: int = 0,
    hear: Hear | None = None,
    hidden: Set[str] = frozenset(),
) -> Comparison:
    """Run every query in every variant, one at a time, after one untimed search, which may load a model. `hear` is
    called with the number of finished searches and their total.

    A query that one of the models cannot embed is left out of all variants; documents of `hidden` are left out of
    every result. Raises InvalidInput where fewer than two queries are left.
    """
    contention = Contention()
    seconds = np.empty((len(data.queries), len(ways)))
    answers: list[list[list[str]]] = []
    failed: dict[int, str] = {}
    for w, way in enumerate(ways):
        answers.append([])
        asked = replace(way.question, k=DEPTH + min(len(hidden), MOST_HIDDEN), counted=False)
        with suppress(*CANNOT):
            index.search(replace(asked, query=data.queries[0]))
        for q, query in enumerate(data.queries):
            begun = time.perf_counter()
            alone = replace(asked, query=query, without=_without(data, q))
            try:
                ids = [] if q in failed else index.search(alone).ids
            except CANNOT as error:
                ids, failed[q] = [], f"{way.name}: {error}"
            answers[w].append([id for id in ids if id not in hidden][:DEPTH])
            seconds[q, w] = time.perf_counter() - begun
            if hear:
                hear(w * len(data.queries) + q + 1, seconds.size)
    kept = [q for q in range(len(data.queries)) if q not in failed]
    notes: tuple[str, ...] = ()
    if failed:
        place, reason = next(iter(failed.items()))
        told = f"{len(failed):,} queries cannot be embedded, for example {data.queries[place][:80]!r} by {reason}"
        if len(kept) < 2:
            raise InvalidInput(f"{told} At least two others are needed.", param="queries")
        notes = (f"{told} They are left out.",)
    if (busy := contention.share()) >= BUSY:
        notes += (f"Other processes took {busy:.0%} of the processor meanwhile: the latencies may be lower.",)
    left = data.only(kept)
    values = np.stack([_quality(left.judgements, [given[q] for q in kept]) for given in answers], axis=1)
    columns = [[{"value": column}] for column in values.T]
    grouping = left.grouping
    sample = sample_of(columns, Mean(f"nDCG@{DEPTH}"), grouping.clusters, repeats=grouping.repeats)
    distinct = len(values) if grouping.repeats is None else len(np.unique(grouping.repeats))
    judged = compare_candidates(sample, delta, seed=seed, units=distinct)
    return Comparison(tuple(w.name for w in ways), values, seconds[kept], judged, distinct, notes)


def _without(data: Labelled, place: int) -> frozenset[str]:
    """The query's own document, which is no answer to it."""
    own = data.own[place] if data.own else None
    return frozenset() if own is None else frozenset([own])


def _quality(judgements: Mapping[str, Mapping[str, int]], answers: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    ids = sorted({id for answer in answers for id in answer})
    place = {id: p for p, id in enumerate(ids)}
    ranking = np.full((len(answers), DEPTH), -1, np.int64)
    for row, answer in enumerate(answers):
        ranking[row, : len(answer)] = [place[id] for id in answer]
    found = evaluate_ranking(ranking, list(judgements), ids, judgements, {"value": f"nDCG@{DEPTH}"})
    return np.asarray(found["value"], np.float64)


def compare_move(
    index: Index,
    queries: Sequence[LabelledQuery],
    *,
    delta: float = DELTA,
    seed: int = 0,
    hear: Hear | None = None,
) -> dict[str, Any]:
    """Compare both generations of a move and keep the verdict with it: `worse` where the interval excludes zero."""
    move = index.state.move
    if move is None:
        raise Refused(f"{index.name!r} is not on a move: there are no two generations to compare.")
    hidden = _still_missing(index, move)
    data = place_labels(index, queries, hidden)
    plain = SearchRequest(rerank=False, rescore=False, priority=Priority.BULK, exact=True)
    ways = [
        SearchVariant(index.state.generation(g).model + f" ({g})", replace(plain, generation=g))
        for g in (move.source, move.target)
    ]
    compared = compare_ways(index, data, ways, delta=delta, seed=seed, hear=hear, hidden=hidden)
    found = compared.judged.differences
    lower, upper = float(found.lower[0]), float(found.upper[0])
    estimate = metric_text(float(found.estimate[0]))
    judged = compared.judged
    told = f"{estimate} [{metric_text(lower)}, {metric_text(upper)}] nDCG@10 on {compared.distinct:,} queries"
    if judged.too_few:
        few = too_few_text(judged, compared.distinct, "query")
        decision, reason = "cannot_tell", f"{few} Whether {ways[1].name} is better or worse cannot be told: {told}."
    else:
        decision, reason = _words(ways[1].name, told, lower, upper, delta)
    more = judged.more if decision == "cannot_tell" else None
    verdict = compared.to_json() | {
        "decision": decision,
        "worse": decision == "worse",
        "reason": reason,
        "delta": delta,
        "queries_needed": None if more is None else compared.distinct + more,
        "notes": [*data.notes, *compared.notes, *_refused_notes(index, move)],
    }
    record_verdict(index, move, verdict)
    return verdict


def _still_missing(index: Index, move: Move) -> set[str]:
    """Documents that one of the generations lacks. Raises Refused where they are more than MOST_HIDDEN."""
    hidden: set[str] = set()
    for generation in (move.source, move.target):
        missing = index.documents.backlog_size(generation)
        if not ready(index.documents, generation) or missing > MOST_HIDDEN:
            raise Refused(
                f"{missing:,} documents are still missing in {generation}, and would count against it. Compare when "
                "the backfill is done."
            )
        hidden |= {d.id for d in index.documents.backlog(generation, MOST_HIDDEN)}
    return hidden


def _refused_notes(index: Index, move: Move) -> list[str]:
    notes = []
    for generation in (move.source, move.target):
        count, examples = index.documents.refused(generation, 1)
        if count:
            notes.append(
                f"{count:,} documents that the model of {generation} cannot embed count against it, for example "
                f"{examples[0]['id']!r}: {examples[0]['reason']}"
            )
    return notes


def _words(name: str, told: str, lower: float, upper: float, delta: float) -> tuple[str, str]:
    if upper < 0:
        return "worse", f"{name} is surely worse than what it would replace: {told}."
    if lower > delta:
        return "better", f"{name} is surely better than what it would replace: {told}."
    if lower >= -delta:
        return "not_worse", f"{name} is not worse than what it would replace by more than {short(delta)}: {told}."
    return "cannot_tell", f"Whether {name} is better or worse than what it would replace cannot be told: {told}."


def compare_ladder(
    index: Index,
    queries: Sequence[LabelledQuery],
    *,
    rerank: Sequence[Rerank] = (),
    rescore: Sequence[Rescore] = (),
    hear: Hear | None = None,
) -> dict[str, Any]:
    """Compare the stages of the cascade: L0, each reranker, each larger model, and L3, the target of a move."""
    data = place_labels(index, queries)
    plain = SearchRequest(rerank=False, rescore=False, generation=index.state.active)  # whatever share a canary has
    ways = [SearchVariant("L0", plain)]
    ways += [SearchVariant(f"L1 {r.model}, {r.depth}", replace(plain, rerank=r)) for r in rerank]
    ways += [
        SearchVariant(f"L2 {index.state.generation(r.generation).model}, {r.depth}", replace(plain, rescore=r))
        for r in rescore
    ]
    move, notes = index.state.move, list(data.notes)
    if move and ready(index.documents, move.target):
        ways.append(
            SearchVariant(f"L3 {index.state.generation(move.target).model}", replace(plain, generation=move.target))
        )
    if move and (note := coverage(index.documents, move.target).note(move.target)):
        notes.append(note)
    compared = compare_ways(index, data, ways, hear=hear)
    if compared.judged.too_few:
        notes.append(too_few_text(compared.judged, compared.distinct, "query"))
    told = compared.to_json() | {"notes": [*notes, *compared.notes]}
    return told | {"approximate_recall": _recall(index, data, plain)}


def _recall(index: Index, data: Labelled, plain: SearchRequest) -> float | None:
    """Recall@10 of the store's approximate index against exact search; None where the store searches exactly. It is a
    property of the store, which a larger model does not improve."""
    if not index.store.indexed(index.state.table(index.state.serving)):
        return None
    shares = []
    for place, query in enumerate(data.queries):
        asked = replace(plain, query=query, k=DEPTH, counted=False, without=_without(data, place))
        exact = index.search(replace(asked, exact=True)).ids
        shares.append(len({*exact} & {*index.search(asked).ids}) / max(len(exact), 1))
    return float(np.mean(shares))
