"""Detects whether a corpus holds code, long documents, or neither."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import islice
from statistics import median

from upsize.evaluation.datasets.types import TaskKind

SAMPLE = 500
"""Documents that are looked at, from the start of the corpus."""
LONG = 4000
"""Characters of the median document from which documents count as long: about 1,000 tokens of English."""
CODE_LINE = re.compile(
    r"^\s*(def |class |function |func |fn |public |private |import |from \w+ import|#include|return\b|if \(|for \()"
    r"|[;{}]\s*$|\):\s*$"
)


def sort_of_corpus(documents: Sequence[str], notes: list[str]) -> TaskKind:
    """The kind of retrieval by the first documents. Adds a note to `notes` unless it is plain retrieval."""
    sample = list(islice(documents, SAMPLE))
    if sum(is_code(text) for text in sample) > len(sample) / 2:
        notes.append("Most documents look like code, so MRR@10 decides; kind 'retrieval' would take nDCG@10.")
        return TaskKind.CODE_SEARCH
    length = median(len(text) for text in sample) if sample else 0
    if length >= LONG:
        notes.append(f"The median document has {length:,.0f} characters; check that the models read all of it.")
        return TaskKind.LONG_DOCUMENTS
    return TaskKind.RETRIEVAL


def is_code(text: str) -> bool:
    """Whether at least two lines, and at least a third of them, look like code."""
    lines = [line for line in text.splitlines() if line.strip()]
    hits = sum(bool(CODE_LINE.search(line)) for line in lines)
    return hits >= 2 and hits * 3 >= len(lines)
