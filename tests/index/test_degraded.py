"""One bad or late document costs that document, and nothing else: of a plan, a canary, a shadow, a comparison."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from tests.index.conftest import QUERIES, TEXTS, Make
from tests.index.test_move import LABELLED, begin, until
from tests.index.tools import SNOWMAN, ids, poisoned, settle, stored, write
from upsize.errors import InvalidInput, Refused
from upsize.index import DocumentWrite, SearchRequest, VectorSpec
from upsize.index import cascade as ladder
from upsize.index.shadow_reads import Shadows
from upsize.migration import LabelledQuery, Relevant, move, plan_move
from upsize.migration.compare import compare_ladder, compare_move

SNOW = f"A text of {SNOWMAN} that the new model cannot take."


@pytest.fixture(scope="module")
def broken(embedder_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    return str(poisoned(embedder_folder, tmp_path_factory.mktemp("broken") / "model"))


def test_a_move_goes_on_without_a_text_that_gives_nan(make: Make, broken: str) -> None:
    index = make()
    write(index, TEXTS | {"snow": SNOW})
    plan = plan_move(index, VectorSpec(broken), seconds=0.05)
    assert plan.problems == ()
    assert plan.tokens_per_second
    assert [(r["id"], "NaN" in r["reason"]) for r in plan.refused] == [("snow", True)]
    assert (plan.refused_in_sample, plan.sample) == (1, 7)
    assert "1 of 7 documents of the sample cannot be embedded" in plan.notes[-1]
    move.start(index, plan)
    settle(index)
    told = move.status(index)
    assert (told["missing"], told["refused"], told["refused_examples"][0]["id"]) == (0, 1, "snow")
    assert set(stored(index, "g2")) == set(TEXTS)
    with pytest.raises(Refused, match="cannot embed 1 of the documents, for example 'snow'"):
        move.switch(index)
    move.switch(index, force=True)
    assert index.state.active == "g2"


def test_a_plan_of_a_model_that_takes_none_of_the_texts(make: Make, broken: str) -> None:
    index = make()
    write(index, {"a": SNOW, "b": f"{SNOWMAN} {SNOWMAN}"})
    plan = plan_move(index, VectorSpec(broken), seconds=0.05)
    assert (plan.tokens_per_second, plan.hours, plan.refused_in_sample) == (None, None, 2)


def test_a_plan_names_texts_that_are_too_long_for_the_new_model(make: Make) -> None:
    index = make()
    write(index, TEXTS | {"long": "word " * 40, "huge": "word " * 5000})
    plan = plan_move(index, VectorSpec("demo-s", max_length=36), seconds=0.05)
    assert {r["id"] for r in plan.refused} == {"long", "huge"}
    assert "at most 36 are taken" in plan.refused[0]["reason"]
    cutting = make(truncate=True)
    write(cutting, {"long": "word " * 40})
    assert plan_move(cutting, VectorSpec("demo-s", max_length=36), seconds=0.05).refused == ()


@pytest.mark.parametrize("lacking", ["refused", "missing"])
def test_one_document_that_the_target_lacks_keeps_neither_canary_nor_shadow(make: Make, lacking: str) -> None:
    index = make(background=True)
    write(index, TEXTS | {"long": "word " * 40})
    long = {"max_length": 36} if lacking == "refused" else {}
    move.start(index, plan_move(index, VectorSpec("demo-s", **long), seconds=0.05), canary=0.5, shadow=1.0)
    until(lambda: not index.documents.backlog_size("g2"))
    if lacking == "missing":
        index.stop_background()
        with sqlite3.connect(index.folder / "documents.sqlite") as connection:
            connection.execute("INSERT INTO missing VALUES ('g2', 'long', 0)")
        connection.close()
    answered = [index.search(SearchRequest("soup", k=3)).generation.id for _ in range(60)]
    assert 10 < answered.count("g2") < 50
    told = move.status(index)
    assert (told["canary"], told["canary_active"], told["shadow_active"]) == (0.5, True, True)
    assert told["canary_answered"] == answered.count("g2")
    assert told[lacking] == 1
    assert (
        f"g2 lacks 1 of 7 documents ({told['missing']} still to be embedded, {told['refused']} refused"
        in (told["incomplete"])
    )
    if lacking == "refused":
        until(lambda: move.status(index)["agreement"]["searches"] > 0)


def test_a_target_that_is_being_filled_gets_no_searches_and_says_so(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    begin(index, canary=1.0, shadow=1.0)
    assert index.search(SearchRequest("soup")).generation.id == "g1"
    told = move.status(index)
    assert (told["canary"], told["canary_active"], told["shadow_active"]) == (1.0, False, False)
    assert "g2 lacks 6 of 6 documents" in told["incomplete"]
    assert "until nearly all are there" in told["incomplete"]
    settle(index)
    assert move.status(index)["incomplete"] is None


def test_writes_that_the_target_has_not_yet_keep_no_canary(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    begin(index, canary=1.0)
    settle(index)
    write(index, {"new": "Volcanoes and lava.", "newer": "Glaciers."})
    assert index.documents.backlog_size("g2") == 2
    assert index.search(SearchRequest("soup")).generation.id == "g2"


def test_a_shadow_compares_what_both_hold(make: Make, tmp_path: Path) -> None:
    index = make()
    write(index, TEXTS)
    question = SearchRequest("recipe for onion soup", k=6, exact=True)
    answer = index.search(question)
    index.delete(["soup"])
    without = index.search(question)
    shadows = Shadows(tmp_path)
    shadows.add("q", 6, answer, without, {"soup"})
    told = shadows.summary()
    assert (told["overlap"], told["left_out"]) == (1.0, 1)
    assert told["rank_biased_overlap"] == pytest.approx(1.0)
    shadows.close()


def test_shadows_of_an_older_version_are_read(tmp_path: Path) -> None:
    with sqlite3.connect(tmp_path / "shadows.sqlite") as connection:
        connection.execute(
            "CREATE TABLE shadows (number INTEGER PRIMARY KEY, pair TEXT NOT NULL, query TEXT NOT NULL, "
            "k INTEGER NOT NULL, overlap REAL NOT NULL, rbo REAL NOT NULL, answered TEXT NOT NULL, other TEXT NOT NULL)"
        )
        connection.execute("INSERT INTO shadows VALUES (1, 'g1→g2', 'q', 3, 0.5, 0.4, '[]', '[]')")
    connection.close()
    shadows = Shadows(tmp_path)
    assert (shadows.summary()["searches"], shadows.summary()["left_out"]) == (1, 0)
    shadows.close()


def test_a_query_that_the_new_model_cannot_take_is_answered_by_the_old(make: Make, broken: str) -> None:
    index = make()
    write(index, TEXTS)
    begin(index, broken, canary=1.0)
    settle(index)
    assert index.search(SearchRequest("soup")).generation.id == "g2"
    assert index.search(SearchRequest(f"soup {SNOWMAN}")).generation.id == "g1"
    assert move.status(index)["canary_failed"] == 1


def test_a_comparison_leaves_out_queries_that_cannot_be_embedded(make: Make, broken: str) -> None:
    index = make()
    write(index, TEXTS)
    begin(index, broken)
    settle(index)
    snow = LabelledQuery(f"soup {SNOWMAN}", (Relevant("soup"),))
    verdict = compare_move(index, [*LABELLED[:3], snow, *LABELLED[3:]])
    assert verdict["queries"] == len(LABELLED)
    assert any("1 queries cannot be embedded" in note and "left out" in note for note in verdict["notes"])
    with pytest.raises(InvalidInput, match="2 queries cannot be embedded"):
        compare_move(index, [snow, LabelledQuery(f"{SNOWMAN} moon", (Relevant("moon"),)), LABELLED[0]])


def test_a_comparison_leaves_out_documents_that_one_side_lacks(make: Make) -> None:
    index = make()
    write(index, TEXTS)
    begin(index)
    settle(index)
    write(index, {"new": "Volcanoes and lava."})
    queries = [*LABELLED, LabelledQuery("lava", (Relevant("new"),))]
    verdict = compare_move(index, queries)
    assert verdict["queries"] == len(LABELLED)
    assert any("1 documents are not in both generations yet" in note for note in verdict["notes"])
    assert any("g2 lacks 1 of 7" in note for note in compare_ladder(index, queries)["notes"])


def test_stages_above_leave_what_their_model_cannot_take_below_the_rest(
    make: Make, broken: str, reranker_folder: Path, tmp_path: Path
) -> None:
    index = make()
    write(index, TEXTS | {"snow": SNOW})
    before = set(ids(index, "snow"))
    ladder.set_rescore(index, broken)
    found = index.search(SearchRequest(SNOW.replace(SNOWMAN, ""), k=7)).found
    assert {f.document.id for f in found} == before
    assert found[-1].document.id == "snow"
    assert "larger" not in found[-1].scores
    assert all("larger" in f.scores for f in found[:-1])
    ladder.set_rescore(index, None)
    ladder.set_rerank(index, str(poisoned(reranker_folder, tmp_path / "reranker")))
    found = index.search(SearchRequest("soup", k=7)).found
    assert [f.document.id for f in found if "reranker" not in f.scores] == ["snow"]
    assert found[-1].document.id == "snow"
    for query in QUERIES:
        assert len(index.search(SearchRequest(query)).found) == 7


def test_a_write_names_the_document_that_the_indexs_own_model_cannot_take(make: Make, broken: str) -> None:
    index = make(model=broken)
    write(index, {"a": "a text"})
    with pytest.raises(InvalidInput, match=r"documents\[2\] \(id 'snow'\): .* NaN or infinite values") as caught:
        index.add([DocumentWrite("a", "a text"), DocumentWrite("b", "another"), DocumentWrite("snow", SNOW)])
    assert caught.value.index == 2
    assert index.documents.count() == 1
