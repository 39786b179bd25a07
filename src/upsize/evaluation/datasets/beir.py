"""BEIR folders: `corpus`, `queries` and, where there are judgements, `qrels/SPLIT.tsv` (Thakur et al. 2021).

Corpus and queries may have any known format. A folder without judgements is read as unjudged retrieval.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from upsize.errors import InvalidInput
from upsize.evaluation.datasets import fields
from upsize.evaluation.datasets.corpus_kind import sort_of_corpus
from upsize.evaluation.datasets.fields import BadRow, columns_of
from upsize.evaluation.datasets.own_documents import note_of
from upsize.evaluation.datasets.reader_report import ReaderReport, Units
from upsize.evaluation.datasets.tables import RETRIEVAL_KINDS
from upsize.evaluation.datasets.text_store import TextStore
from upsize.evaluation.datasets.types import RetrievalData, TaskKind
from upsize.io import Format, Record, Source, find, format_of, stem_of

SPLITS = ("test", "dev", "validation", "train")
"""Where there are several files of judgements, the first of these splits is taken."""
QUERY_ID = ("query-id", "query_id", "qid")
DOCUMENT_ID = ("corpus-id", "corpus_id", "document_id", "docid")
GRADE = ("score", "relevance", "grade")

Judgements = dict[str, dict[str, int]]


def read_beir(folder: Path, corpus: Path, queries_file: Path, report: ReaderReport) -> RetrievalData:
    """Read a corpus, its queries, and judgements where there are any. InvalidInput as `load_dataset`."""
    if report.kind not in (None, *RETRIEVAL_KINDS, TaskKind.UNJUDGED):
        could = ", ".join((*RETRIEVAL_KINDS, TaskKind.UNJUDGED))
        raise InvalidInput(f"{folder} holds a corpus and queries, which can be {could}, but not {report.kind}.")
    corpus_table = report.open(corpus, corpus.name)
    ids, documents = _corpus(corpus_table, report)
    queries_table = report.open(queries_file, queries_file.name)
    units, queries = _queries(queries_table, report)
    judged = _qrels(folder, report) if report.kind is not TaskKind.UNJUDGED else None
    unjudged: Judgements = {unit: {} for unit in queries}
    judgements = unjudged if judged is None else _judgements(judged, queries, ids, report)
    keep = [i for i, unit in enumerate(queries) if judged is None or unit in judgements]
    row_errors = report.close(folder.name, len(keep), "queries")
    if judged is None:
        kind = TaskKind.UNJUDGED
        note = f"{len(queries):,} queries over {len(ids):,} documents, and no judgements"
    else:
        kind = report.kind or sort_of_corpus(documents, report.notes)
        pairs = sum(grade > 0 for grades in judgements.values() for grade in grades.values())
        note = f"{len(keep):,} queries, {len(ids):,} documents, {pairs:,} relevant pairs from {judged.name}"
        if missing := len(queries) - len(keep):
            report.notes.append(f"{missing:,} queries have no judgement in {judged.name} and are left out.")
        if unanswerable := sum(not any(g > 0 for g in judgements[u].values()) for u in queries if u in judgements):
            report.notes.append(f"{unanswerable:,} queries have no relevant document; they score 0 for every model.")
    texts = list(queries.values())
    unit_metadata = units.unit_metadata(keep)
    data = RetrievalData(
        name=folder.name,
        kind=kind,
        unit_metadata=unit_metadata,
        notes=(f"Read as {kind}: {note}.", *report.notes),
        row_errors=row_errors,
        queries=tuple(texts[i] for i in keep),
        document_ids=tuple(ids),
        documents=documents,
        judgements={unit: judgements[unit] for unit in unit_metadata.ids},
        named=all(_has_ids(table, report) for table in (corpus_table, queries_table)),
    )
    return replace(data, notes=(*data.notes, *note_of(data)))


def _has_ids(table: Source, report: ReaderReport) -> bool:
    return table.format is not Format.TEXT and "id" in columns_of(table, _of_documents(report.fields))


def _of_documents(asked: Mapping[str, str]) -> dict[str, str]:
    """The roles of a corpus' fields: those of queries only are left out."""
    return {role: column for role, column in asked.items() if role not in ("cluster", "language", "query")}


def _corpus(table: Source, report: ReaderReport) -> tuple[dict[str, int], TextStore]:
    """(id → line, texts). A text is the title and the text joined by a space and stripped, as in BEIR and MTEB."""
    asked = _of_documents(report.fields)
    columns = {"text": "text"} if table.format is Format.TEXT else columns_of(table, asked)
    column = columns.get("text") if "text" not in table.columns else "text"
    if column is None:
        raise InvalidInput(f"{table.name} has no field 'text'. Fields: {', '.join(table.columns)}.")
    texts = TextStore()
    ids: dict[str, int] = {}

    def parse(record: Record) -> str:
        document = fields.name(record, columns["id"]) if "id" in columns else str(record.line)
        if document in ids:
            raise BadRow(f"the id {document!r} is already in line {ids[document]}")
        title = record.fields.get("title") if column != "title" else None
        body = record.fields.get(column)
        if isinstance(title, str) and title.strip() and isinstance(body, str | None):
            text = f"{title} {body or ''}".strip()
        else:
            text = fields.text(record, column).strip()
        ids[document] = record.line
        return text

    for text in report.rows(table, parse):
        texts.append(text)
    return ids, texts


def _queries(table: Source, report: ReaderReport) -> tuple[Units, dict[str, str]]:
    columns = columns_of(table, report.fields)
    column = columns.get("query") or columns.get("text")
    if column is None:
        raise InvalidInput(f"{table.name} has no field 'text' or 'query'. Fields: {', '.join(table.columns)}.")
    units = Units(table, report)

    def parse(record: Record) -> tuple[str, str]:
        text = fields.text(record, column)
        return units.add(record), text

    return units, dict(report.rows(table, parse))


def _qrels(folder: Path, report: ReaderReport) -> Source | None:
    inside = sorted(p for p in (folder / "qrels").glob("*") if format_of(p))
    beside = find(folder, "qrels")
    found = {stem_of(path): path for path in inside} or ({"qrels": beside} if beside else {})
    if not found:
        if report.kind not in (None, TaskKind.UNJUDGED):
            raise InvalidInput(f"{folder} has no judgements (qrels/test.tsv or qrels.tsv), which {report.kind} needs.")
        return None
    order = (report.split,) if report.split else (*SPLITS, *found)
    split = next((name for name in order if name in found), None)
    if split is None:
        raise InvalidInput(f"{folder}: no judgements for the split {report.split!r}. There are: {', '.join(found)}.")
    path = found[split]
    others = ", ".join(name for name in found if name != split)
    if others and not report.split:
        report.notes.append(f"Judged by the split {split!r}; there are also {others} (--split).")
    return report.open(path, path.relative_to(folder).as_posix())


def _judgements(table: Source, queries: dict[str, str], ids: dict[str, int], report: ReaderReport) -> Judgements:
    columns = [next((n for n in names if n in table.columns), None) for names in (QUERY_ID, DOCUMENT_ID, GRADE)]
    query_column, document_column, grade_column = columns
    if query_column is None or document_column is None or grade_column is None:
        raise InvalidInput(
            f"{table.name} needs a header of query-id, corpus-id and score; it has {', '.join(table.columns)}."
        )
    judgements: Judgements = {}
    asked, named = {}, {}

    def parse(record: Record) -> tuple[str, str, int]:
        query, document = fields.name(record, query_column), fields.name(record, document_column)
        grade = fields.grade(record, grade_column)
        asked[query], named[document] = query in queries, document in ids
        if not asked[query]:
            raise BadRow(f"no query has the id {query!r}")
        if not named[document]:
            raise BadRow(f"no document has the id {document!r}")
        if judgements.get(query, {}).get(document, grade) != grade:
            raise BadRow(
                f"{document!r} has the grade {judgements[query][document]} for {query!r} above, and {grade} here"
            )
        return query, document, grade

    for query, document, grade in report.rows(table, parse):
        judgements.setdefault(query, {})[document] = grade
    for what, seen, present in (("query", asked, queries), ("document", named, ids)):
        if seen and present and not any(seen.values()):
            raise InvalidInput(
                f"{table.name} judges no {what} of this dataset: its ids look like {_some(seen)}, those of the "
                f"{'queries' if what == 'query' else 'corpus'} like {_some(present)}. Use the same ids in both."
            )
    return judgements


def _some(ids: dict[str, bool] | dict[str, str] | dict[str, int]) -> str:
    return ", ".join(repr(i) for i in list(ids)[:3])
