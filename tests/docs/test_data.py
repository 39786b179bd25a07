"""The examples of docs/data.md are read as what the page says, and its tables have every kind and metric."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from upsize.evaluation.datasets import TaskKind, load_dataset
from upsize.evaluation.datasets.fields import ROLES
from upsize.evaluation.tasks import task_of

PAGE = (Path(__file__).parents[2] / "docs" / "data.md").read_text(encoding="utf-8")
EXAMPLES = re.findall(r"^### [^\n]*→ `([^`]+)`[^\n]*\n\n```(jsonl|csv)\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize(("kind", "suffix", "text"), EXAMPLES, ids=[kind for kind, _, _ in EXAMPLES])
def test_an_example_is_read_as_what_its_heading_says(tmp_path: Path, kind: str, suffix: str, text: str) -> None:
    if text.startswith('{"_id"'):
        (tmp_path / "corpus.jsonl").write_text(text, encoding="utf-8")
        (tmp_path / "queries.jsonl").write_text('{"_id": "q1", "text": "when?"}\n{"_id": "q2", "text": "how long?"}\n')
        qrels = re.search(r"```tsv\n(.*?)```", PAGE, re.DOTALL)
        assert qrels
        (tmp_path / "qrels.tsv").write_text(qrels[1])
        path = tmp_path
    else:
        path = tmp_path / f"example.{suffix}"
        path.write_text(text, encoding="utf-8")
    data = load_dataset(path)
    assert data.kind.value == kind
    assert data.row_errors == ()
    if data.kind is not TaskKind.CLASSIFICATION:  # whose example has too few texts to judge anything
        assert task_of(data).units == data.unit_metadata.ids


def test_there_is_an_example_of_every_shape() -> None:
    assert [kind for kind, _, _ in EXAMPLES] == [
        "retrieval",
        "reranking",
        "classification",
        "sts",
        "bitext",
        "retrieval",
    ]


def test_every_kind_and_optional_field_is_there() -> None:
    for kind in TaskKind:
        assert f"`{kind}`" in PAGE
    for role in ("id", "language", "cluster", "split"):
        for name in ROLES[role]:
            assert f"`{name}`" in PAGE


def test_the_recorded_difference_to_mteb_is_the_one_that_is_quoted() -> None:
    results = Path(__file__).parents[2] / "benchmarks" / "results" / "mteb-agreement.json"
    recorded = json.loads(results.read_text(encoding="utf-8"))
    assert f"the greatest difference was {recorded['greatest_difference']:.1e}" in PAGE
    for row in recorded["results"]:
        exact = {
            n: v for n, v in row["figures"].items() if row["task"] not in ("retrieval", "reranking") or n == "MRR@10"
        }
        assert all(abs(value["ours"] - value["mteb"]) < 1e-6 for value in exact.values())
