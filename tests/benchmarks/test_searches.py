"""The searches of the demo corpus, and their committed result."""

from __future__ import annotations

import json

from benchmarks.common import RESULTS
from benchmarks.searches import SEARCHES
from upsize import Embedder
from upsize.demo import corpus


def test_answers_are_texts_of_the_corpus() -> None:
    assert {answer for answers in SEARCHES.values() for answer in answers} <= {row.id for row in corpus()}


def test_searches_find_what_the_result_says() -> None:
    result = json.loads((RESULTS / "searches.json").read_text(encoding="utf-8"))
    texts = {row.id: row.text for row in corpus()}
    with Embedder("demo-m") as model:
        scores = model.encode_query(list(SEARCHES)) @ model.encode_document(list(texts.values())).T
    first = [list(texts)[i] in right for i, right in zip(scores.argmax(1), SEARCHES.values(), strict=True)]
    assert abs(sum(first) - result["searches_answered_first"]) <= 1  # a near tie may fall either way
