"""The published scores that the package carries."""

from __future__ import annotations

import json
from pathlib import Path

from upsize.catalog.published import BENCHMARKS, RERANKED, about, task_scores

ABOUT = Path(__file__).parents[2] / "src" / "upsize" / "catalog" / "published" / "about.json"


def test_the_table_is_what_it_says_of_itself() -> None:
    rows = task_scores()
    assert len({r.task for r in rows}) == about().tasks
    assert len({r.data_set for r in rows}) == about().data_sets
    assert all(-1 <= s <= 1 for r in rows for s in r.scores)
    assert len({(r.task, r.language) for r in rows}) == len(rows)
    assert about().licence == "CC0 1.0"


def test_known_scores() -> None:
    score = {(r.task, r.language): r.scores for r in task_scores()}
    assert score["ThuNewsClusteringS2S", "*"] == (0.7457, 0.8429, 0.8656)
    assert score["ThuNewsClusteringP2P", "zh"] == (0.815, 0.8788, 0.8879)


def test_the_broken_run_is_listed_and_left_out() -> None:
    listed = json.loads(ABOUT.read_text())["screened"]
    assert {"task": "XQuADRetrieval", "cell": "validation/th", "0.6B": 0.90903, "4B": 0.96014, "8B": 0.01663} in listed
    assert ("XQuADRetrieval", "th") not in {(r.task, r.language) for r in task_scores()}
    assert about().screened == len(listed)


def test_the_means_of_the_pages_agree_with_the_tables_of_rerankers() -> None:
    english, chinese, code = (next(t for t in RERANKED if t.what == w) for w in ("English", "Chinese", "code"))
    assert english.alone[0] < english.reranked[0]
    assert code.alone[0] > code.reranked[0], "Reranker-0.6B lowers code retrieval"
    assert chinese.alone[1] is not None
    assert chinese.alone[1] > chinese.reranked[1]
    assert next(b.mean for b in BENCHMARKS if b.what == "code") == code.alone
