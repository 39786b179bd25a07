"""Reads one file of rows. Its fields determine its shape."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace

from upsize.errors import InvalidInput
from upsize.evaluation.datasets import fields
from upsize.evaluation.datasets.corpus_kind import sort_of_corpus
from upsize.evaluation.datasets.fields import BadRow, columns_of
from upsize.evaluation.datasets.own_documents import candidates_note, note_of
from upsize.evaluation.datasets.reader_report import ReaderReport, Units
from upsize.evaluation.datasets.text_store import TextStore
from upsize.evaluation.datasets.types import (
    Dataset,
    LabelledData,
    PairsData,
    ParallelData,
    RerankingData,
    RetrievalData,
    TaskKind,
)
from upsize.io import Record, Source
from upsize.number_format import short

RETRIEVAL_KINDS = (TaskKind.RETRIEVAL, TaskKind.CODE_SEARCH, TaskKind.LONG_DOCUMENTS)


@dataclass(frozen=True)
class TableShape:
    """The roles that a file must have for some kinds of task, and the reader of such files."""

    roles: tuple[str, ...]
    kinds: tuple[TaskKind, ...]
    read: Callable[[Source, ReaderReport], Dataset]


def read_table(table: Source, report: ReaderReport, train: Source | None = None) -> Dataset:
    """Read a file as a dataset. `train` is a second file of labelled texts to train on, which only classification uses.

    Raises InvalidInput where the fields fit no kind, or not the requested one.
    """
    if not table.columns:
        report.close(table.name, sum(1 for _ in report.rows(table, lambda record: record)), "rows")
    columns = columns_of(table, report.fields)
    fitting = [shape for shape in SHAPES if all(role in columns for role in shape.roles)]
    chosen = next((s for s in fitting if report.kind is None or report.kind in s.kinds), None)
    if chosen is not None and train is not None:
        if TaskKind.CLASSIFICATION in chosen.kinds:
            return _labelled(table, report, train)
        report.notes.append(f"{train.name} is not used: {chosen.kinds[0]} needs nothing to train on.")
    if chosen is not None:
        return chosen.read(table, report)
    found = f"{table.name} has the fields {', '.join(table.columns) or '(none)'}"
    if fitting:
        could = ", ".join(kind for shape in fitting for kind in shape.kinds)
        raise InvalidInput(f"{found}, which can be {could}, but not {report.kind}.")
    known = "\n".join(f"  {', '.join(shape.roles)}: {' or '.join(shape.kinds)}" for shape in SHAPES)
    raise InvalidInput(
        f"{found}, which fit none of the known shapes:\n{known}\n"
        "Say which field is which, for instance fields={'text': 'headline'} (--field text=headline)."
    )


def _judged(table: Source, report: ReaderReport) -> Dataset:
    """{query, positives, negatives?}. The corpus is the set of all documents of all rows."""
    columns = columns_of(table, report.fields)
    if report.kind is TaskKind.RERANKING:
        return _candidates(table, report)
    units = Units(table, report)
    queries: dict[str, str] = {}
    asked: dict[str, str] = {}
    judgements: dict[str, dict[str, int]] = {}
    corpus = TextStore()
    places: dict[str, str] = {}
    repeated = 0

    def place(document: str) -> str:
        if document not in places:
            places[document] = f"d{len(places) + 1}"
            corpus.append(document)
        return places[document]

    def parse(record: Record) -> bool:
        query = fields.text(record, columns["query"])
        positives = fields.texts(record, columns["positives"])
        negatives = fields.texts(record, columns.get("negatives"))
        if not positives:
            raise BadRow(f"no {columns['positives']!r}")
        if both := set(positives) & set(negatives):
            raise BadRow(f"one text is positive and negative: {min(both)!r:.60}")
        known = query in asked
        unit = asked[query] if known else units.add(record)
        asked[query], queries[unit] = unit, query
        grades = judgements.setdefault(unit, {})
        grades.update({place(document): 1 for document in positives})
        for document in negatives:
            grades.setdefault(place(document), 0)
        return known

    for known in report.rows(table, parse):
        repeated += known
    row_errors = report.close(table.name, len(queries), "queries")
    if repeated:
        report.notes.append(f"{repeated:,} rows repeat a query; their judgements are joined with its first row's.")
    kind = report.kind or sort_of_corpus(corpus, report.notes)
    pairs = sum(grade > 0 for grades in judgements.values() for grade in grades.values())
    note = (
        f"Read as {kind}: {len(queries):,} queries over the {len(corpus):,} documents of all rows, {pairs:,} positives."
    )
    data = RetrievalData(
        name=table.stem,
        kind=kind,
        unit_metadata=units.unit_metadata(),
        notes=(note, *report.notes),
        row_errors=row_errors,
        queries=tuple(queries.values()),
        document_ids=tuple(places.values()),
        documents=corpus,
        judgements=judgements,
        named=False,
    )
    return replace(data, notes=(*data.notes, *note_of(data)))


def _candidates(table: Source, report: ReaderReport) -> RerankingData:
    """{query, documents, relevance}, or {query, positives, negatives} as candidates."""
    columns = columns_of(table, report.fields)
    units = Units(table, report)

    def parse(record: Record) -> tuple[str, tuple[str, ...], tuple[int, ...]]:
        query = fields.text(record, columns["query"])
        if "documents" in columns:
            documents = fields.texts(record, columns["documents"])
            relevance = fields.grades(record, columns["relevance"])
        else:
            positives = fields.texts(record, columns["positives"])
            documents = positives + fields.texts(record, columns.get("negatives"))
            relevance = [1] * len(positives) + [0] * (len(documents) - len(positives))
        if len(documents) != len(relevance):
            raise BadRow(f"{len(documents)} documents and {len(relevance)} grades of relevance")
        if not any(r > 0 for r in relevance):
            raise BadRow("no document is relevant, so all orders are equally good")
        if all(r == relevance[0] for r in relevance):
            raise BadRow("all documents are equally relevant, so all orders are equally good")
        units.add(record)
        return query, tuple(documents), tuple(relevance)

    rows = list(report.rows(table, parse))
    row_errors = report.close(table.name, len(rows), "queries")
    total = sum(len(documents) for _, documents, _ in rows)
    note = f"Read as reranking: {len(rows):,} queries with {total:,} documents of their own."
    queries, documents, relevance = zip(*rows, strict=True)
    return RerankingData(
        name=table.stem,
        kind=TaskKind.RERANKING,
        unit_metadata=units.unit_metadata(),
        notes=(note, *report.notes, *candidates_note(queries, documents, relevance)),
        row_errors=row_errors,
        queries=queries,
        documents=documents,
        relevance=relevance,
    )


def _scored(table: Source, report: ReaderReport) -> PairsData:
    """{text1, text2, score}: pair classification if all scores are 0 or 1, else similarity."""
    columns = columns_of(table, report.fields)
    units = Units(table, report)

    def parse(record: Record) -> tuple[str, str, float]:
        row = (
            fields.text(record, columns["text1"]),
            fields.text(record, columns["text2"]),
            fields.number(record, columns["score"]),
        )
        if report.kind is TaskKind.PAIR_CLASSIFICATION and row[2] not in (0, 1):
            raise BadRow(f"{columns['score']!r} is {short(row[2])}, neither 0 nor 1")
        units.add(record)
        return row

    rows = list(report.rows(table, parse))
    row_errors = report.close(table.name, len(rows), "pairs")
    scores = tuple(score for _, _, score in rows)
    if len(set(scores)) == 1:
        raise InvalidInput(
            f"{table.name}: all {len(scores):,} scores are {short(scores[0])}, so there is nothing to order."
        )
    kind = report.kind or (TaskKind.PAIR_CLASSIFICATION if set(scores) == {0, 1} else TaskKind.STS)
    why = "scores are 0 and 1" if set(scores) == {0, 1} else f"scores from {short(min(scores))} to {short(max(scores))}"
    return PairsData(
        name=table.stem,
        kind=kind,
        unit_metadata=units.unit_metadata(),
        notes=(f"Read as {kind}: {len(rows):,} pairs, {why}.", *report.notes),
        row_errors=row_errors,
        left=tuple(left for left, _, _ in rows),
        right=tuple(right for _, right, _ in rows),
        scores=scores,
    )


def _parallel(table: Source, report: ReaderReport) -> ParallelData:
    """{text_a, text_b}: translations of each other."""
    columns = columns_of(table, report.fields)
    units = Units(table, report)

    def parse(record: Record) -> tuple[str, str]:
        row = fields.text(record, columns["text_a"]), fields.text(record, columns["text_b"])
        units.add(record)
        return row

    rows = list(report.rows(table, parse))
    row_errors = report.close(table.name, len(rows), "pairs")
    repeated = len(rows) - len({right for _, right in rows})
    if repeated:
        report.notes.append(f"{repeated:,} translations are repeated; only the pair's own counts as found, as in MTEB.")
    return ParallelData(
        name=table.stem,
        kind=TaskKind.BITEXT,
        unit_metadata=units.unit_metadata(),
        notes=(
            f"Read as bitext: {len(rows):,} pairs, found from {columns['text_a']!r} to {columns['text_b']!r}.",
            *report.notes,
        ),
        row_errors=row_errors,
        left=tuple(left for left, _ in rows),
        right=tuple(right for _, right in rows),
    )


def _labelled(table: Source, report: ReaderReport, train: Source | None = None) -> LabelledData:
    """{text, label}. Texts to train on come from the file `train`, or from rows whose field `split` is `train`."""
    columns = columns_of(table, report.fields)
    units = Units(table, report)
    of_split = columns.get("split") if train is None else None

    def parse(record: Record) -> tuple[str, str, str]:
        row = (
            fields.text(record, columns["text"]),
            fields.name(record, columns["label"]),
            fields.name(record, of_split) if of_split else "",
        )
        units.add(record)
        return row

    rows = list(report.rows(table, parse))
    if not rows:
        report.close(table.name, 0, "texts")
    others: list[tuple[str, str]] = []
    if train is not None:
        theirs = columns_of(train, report.fields)
        if missing := {"text", "label"} - set(theirs):
            raise InvalidInput(f"{train.name} has no field for {' and '.join(sorted(missing))}, as {table.name} has.")
        others = list(report.rows(train, lambda r: (fields.text(r, theirs["text"]), fields.name(r, theirs["label"]))))
    parts = Counter(part for _, _, part in rows)
    judged = _judged_split(table.name, parts, report.split) if of_split else ""
    keep = [place for place, (_, _, part) in enumerate(rows) if part == judged]
    others += [(text, label) for text, label, part in rows if of_split and part == "train" != judged]
    row_errors = report.close(table.name, len(keep), "texts")
    labels = tuple(rows[place][1] for place in keep)
    if len(set(labels)) == 1:
        raise InvalidInput(
            f"{table.name}: all {len(labels):,} labels are {labels[0]!r}, so there is nothing to tell apart."
        )
    if len(set(labels)) == len(labels):
        raise InvalidInput(f"{table.name}: every text has a label of its own, so none belong together.")
    kind = report.kind or TaskKind.CLASSIFICATION
    if kind is TaskKind.CLUSTERING:
        others = []
    trained = f", {len(others):,} others to train on" if others else ""
    note = f"Read as {kind}: {len(keep):,} texts of {len(set(labels)):,} labels{trained}."
    if report.kind is None:
        note += " The same file can be read as clustering."
    if of_split:
        note += f" Judged are the rows whose {of_split!r} is {judged!r} ({_counts(parts)})."
    return LabelledData(
        name=table.stem,
        kind=kind,
        unit_metadata=units.unit_metadata(keep),
        notes=(note, *report.notes),
        row_errors=row_errors,
        texts=tuple(rows[place][0] for place in keep),
        labels=labels,
        train_texts=tuple(text for text, _ in others),
        train_labels=tuple(label for _, label in others),
    )


def _judged_split(name: str, parts: Counter[str], asked: str | None) -> str:
    order = (asked,) if asked else ("test", "dev", "validation", "train")
    chosen = next((part for part in order if part in parts), None)
    if chosen is None:
        raise InvalidInput(f"{name}: no rows of the split {asked or 'test'!r}. Splits: {_counts(parts)}.")
    return chosen


def _counts(parts: Counter[str]) -> str:
    return ", ".join(f"{part} {count:,}" for part, count in parts.items())


SHAPES = (
    TableShape(("query", "documents", "relevance"), (TaskKind.RERANKING,), _candidates),
    TableShape(("query", "positives"), (*RETRIEVAL_KINDS, TaskKind.RERANKING), _judged),
    TableShape(("text1", "text2", "score"), (TaskKind.STS, TaskKind.PAIR_CLASSIFICATION), _scored),
    TableShape(("text_a", "text_b"), (TaskKind.BITEXT,), _parallel),
    TableShape(("text", "label"), (TaskKind.CLASSIFICATION, TaskKind.CLUSTERING), _labelled),
)
