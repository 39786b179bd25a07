"""Lint of labelled data: findings that make a figure less meaningful. They are reported; nothing is rejected."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from upsize.evaluation.datasets import LabelledData, RerankingData, RetrievalData
from upsize.evaluation.tasks.grouping import normalised

GREATEST_GRADE = 10
"""Above it, grades look like counts (clicks, votes, ranks). Scales of relevance have 2 to 11 steps from 0."""
MUCH = 1 / 2
"""Share of the documents that are relevant to a query from which a random order does well. Chosen."""

LABELS, SPELLINGS = 3, 5
"""Labels with several spellings, and spellings of each, that a note lists."""


def lint_grades(grades: Iterable[int]) -> Iterator[str]:
    """Grades that are too large for nDCG, and negative grades."""
    counted = Counter(grades)
    greatest = max(counted, default=0)
    if greatest > GREATEST_GRADE:
        yield (
            f"Grades go up to {greatest:,}, like counts. nDCG weighs a document by its grade, so few documents "
            "decide. Map the grades to 0 to 3."
        )
    if below := sum(count for grade, count in counted.items() if grade < 0):
        yield f"{below:,} grades are below 0; they count as not relevant."


def lint_retrieval(data: RetrievalData, copies: Mapping[int, int]) -> Iterator[str]:
    """Copies among the documents (`copies` as `copies_of` gives them), grades, and queries that most documents
    answer."""
    judged = data.judgements
    if copies:
        ids = data.document_ids
        relevant = {document for grades in judged.values() for document, grade in grades.items() if grade > 0}
        alike: dict[int, set[str]] = {}
        for copy, first in copies.items():
            alike.setdefault(first, {ids[first]}).add(ids[copy])
        first_of = {id: first for first, group in alike.items() for id in group}
        affected = sum(
            any(
                judged[unit].get(other, 0) <= 0
                for document in grades
                if grades[document] > 0 and document in first_of
                for other in alike[first_of[document]]
            )
            for unit, grades in judged.items()
        )
        note = f"{len(copies):,} of the {len(ids):,} documents repeat another's text"
        if affected:
            note += (
                f"; for {affected:,} queries a copy of a relevant document is not judged relevant, so a model that "
                "finds the copy loses for it"
            )
        elif not relevant & set(first_of):
            note += "; none of them is judged relevant"
        yield f"{note}. Keep each text once."
    yield from lint_grades(grade for grades in judged.values() for grade in grades.values())
    most = sum(_relevant(grades.values()) >= MUCH * len(data.document_ids) for grades in judged.values())
    every = sum(any_order_is_right(grades.values(), len(data.document_ids)) for grades in judged.values())
    if every:
        yield f"{every:,} queries have all documents judged relevant: every order is right, and models cannot differ."
    elif most:
        yield f"For {most:,} queries at least half of the documents are relevant: a random order does well."
    places = {id: place for place, id in enumerate(data.document_ids)}
    relevant_texts = (
        (data.documents[places[id]] for id, grade in judged[unit].items() if grade > 0)
        for unit in data.unit_metadata.ids
    )
    yield from lint_trivial(data.queries, relevant_texts)


def any_order_is_right(grades: Iterable[int], documents: int) -> bool:
    """Whether all `documents` documents are equally relevant to a query with these grades. Every ranking is then
    perfect."""
    relevant = [grade for grade in grades if grade > 0]
    return len(relevant) == documents and len(set(relevant)) == 1


def lint_trivial(queries: Sequence[str], relevant: Iterable[Iterable[str]]) -> Iterator[str]:
    """Queries whose text is that of a relevant document. `relevant` are the texts of each query's relevant
    documents."""
    same = sum(normalised(query) in map(normalised, texts) for query, texts in zip(queries, relevant, strict=True))
    if same:
        yield (
            f"{same:,} of the {len(queries):,} queries have the same text as a document relevant to them. Every "
            "model finds it, so these queries hardly distinguish models."
        )


def lint_reranking(data: RerankingData) -> Iterator[str]:
    """Grades, and texts with two judgements for one query."""
    yield from lint_grades(grade for grades in data.relevance for grade in grades)
    rows = zip(data.documents, data.relevance, strict=True)
    yield from lint_trivial(data.queries, ([d for d, grade in zip(*row, strict=True) if grade > 0] for row in rows))
    unlike = sum(_has_both_judgements(*row) for row in zip(data.documents, data.relevance, strict=True))
    if unlike:
        yield f"{unlike:,} queries have the same text among their relevant and their other documents: check the labels."
    most = sum(_relevant(grades) > MUCH * len(grades) for grades in data.relevance)
    if most > MUCH * len(data.relevance):
        yield f"For {most:,} queries more than half of the documents are relevant: a random order does well."


def lint_labelled(data: LabelledData) -> Iterator[str]:
    """Texts that are used for both training and test, and labels with several spellings."""
    spellings: dict[str, dict[str, None]] = {}
    for label in (*data.labels, *data.train_labels):
        spellings.setdefault(normalised(label), {}).setdefault(label)
    if several := [list(written) for written in spellings.values() if len(written) > 1]:
        shown = "; ".join(", ".join(f"{label!r:.40}" for label in written[:SPELLINGS]) for written in several[:LABELS])
        yield (
            f"{sum(map(len, several)):,} labels differ from another by case, width or white space alone and count as "
            f"different ones: {shown}{'; …' * (len(several) > LABELS)}. Spell each label in one way."
        )
    trained = set(map(normalised, data.train_texts))
    if both := sum(normalised(text) in trained for text in data.texts):
        yield f"{both:,} of the {len(data.texts):,} test texts are training texts too, which raises the accuracy."


def copies_of(texts: Sequence[str]) -> Mapping[int, int]:
    """Index of each repeated text → index of its first occurrence. White space at the ends is ignored."""
    first: dict[int, int] = {}
    return {
        place: first[key]
        for place, key in enumerate(hash(text.strip()) for text in texts)
        if first.setdefault(key, place) != place
    }


def _relevant(grades: Iterable[int]) -> int:
    return sum(grade > 0 for grade in grades)


def _has_both_judgements(documents: Sequence[str], grades: Sequence[int]) -> bool:
    relevant = {normalised(d) for d, grade in zip(documents, grades, strict=True) if grade > 0}
    return any(grade <= 0 and normalised(d) in relevant for d, grade in zip(documents, grades, strict=True))
