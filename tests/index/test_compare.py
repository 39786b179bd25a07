"""Ways to answer compared: a query's own document is no answer, and repeats count once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.index.conftest import QUERIES, TEXTS, Make
from tests.index.tools import settle, write
from upsize.index import Rerank, Rescore, SearchRequest, VectorSpec
from upsize.index import cascade as ladder
from upsize.migration import LabelledQuery, Relevant, move, plan_move
from upsize.migration.compare import compare_ladder, compare_move, place_labels, read_labelled


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    """A BEIR folder whose queries are documents too, with the same ids."""
    asked = [{"_id": f"q-{id}", "text": query} for query, id in QUERIES.items()]
    documents = [{"_id": id, "text": text} for id, text in TEXTS.items()] + asked
    for name, rows in (("corpus", documents), ("queries", asked)):
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "qrels").mkdir()
    judged = "".join(f"q-{id}\t{id}\t1\n" for id in QUERIES.values())
    (tmp_path / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    return tmp_path


@pytest.mark.parametrize("rename", ["", "other-"])
def test_the_own_document_is_left_out_of_every_rung(make: Make, labelled: Path, rename: str) -> None:
    """Found by its id, or by its text where the index has ids of its own."""
    queries, notes = read_labelled(labelled)
    assert any("own document is left out" in note for note in notes)
    plain = make()
    write(plain, TEXTS)
    with_own = make()
    write(with_own, {rename + id: text for id, text in (TEXTS | {f"q-{i}": q for q, i in QUERIES.items()}).items()})
    told = []
    for index in (plain, with_own):
        ladder.set_rescore(index, "demo-s")
        found = compare_ladder(index, queries, rerank=[Rerank("demo-rerank", 3)], rescore=[Rescore("g2", 3)])
        told.append([way["estimate"] for way in found["ways"]])
    assert "6 queries are documents of the index; a query's own document is left out." in found["notes"]
    assert told[1][0] == pytest.approx(told[0][0], abs=0.07), "another's query may stand between, its own may not"
    for query, id in QUERIES.items():
        assert with_own.search(SearchRequest(query, k=1)).ids == [f"{rename}q-{id}"], (
            "it would have been the first of all"
        )


def test_an_own_document_that_is_judged_relevant_stays(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    queries = [LabelledQuery(TEXTS[id], (Relevant(id),), Relevant(id)) for id in TEXTS]
    assert place_labels(index, queries).own == (None,) * 6
    told = compare_ladder(index, queries, rerank=[Rerank("demo-rerank", 3)])
    assert told["ways"][0]["estimate"] == 1
    assert any(note.startswith("Too few to judge: 6 queries") for note in told["notes"])


def test_a_move_is_compared_without_them(make: Make, labelled: Path) -> None:
    index = make()
    write(index, TEXTS | {f"q-{id}": query for query, id in QUERIES.items()})
    move.start(index, plan_move(index, VectorSpec("demo-s"), seconds=0.01))
    settle(index)
    verdict = compare_move(index, read_labelled(labelled)[0])
    assert all(way["estimate"] > 0.75 for way in verdict["ways"]), "0.63 is what the second place is worth"


def test_few_queries_and_repeats_give_no_verdict(make: Make) -> None:
    """Forty questions of six texts are six."""
    index = make()
    write(index, TEXTS)
    move.start(index, plan_move(index, VectorSpec("demo-s"), seconds=0.01))
    settle(index)
    queries = [LabelledQuery(query, (Relevant(id),)) for query, id in QUERIES.items()]
    for asked in (queries, [LabelledQuery(q.query.upper(), q.relevant) for q in queries] + queries * 6):
        verdict = compare_move(index, asked)
        assert verdict["too_few"]
        assert (verdict["decision"], verdict["worse"]) == ("cannot_tell", False)
        assert verdict["reason"].startswith("Too few to judge: 6 queries, and 10 are the fewest that are judged")
        assert verdict["independent"] == 6
        assert all(0 <= way["lower"] <= way["upper"] <= 1 for way in verdict["ways"])
    assert "36 of the 42 queries repeat another's text; repeats count once." in verdict["notes"]
