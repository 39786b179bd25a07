"""What is wrong with a file is said with its line; nothing is dropped in silence."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.evaluation.files import CORPUS, QRELS, QUERIES, beir, jsonl
from upsize.errors import InvalidInput
from upsize.evaluation.datasets import LabelledData, PairsData, load_dataset
from upsize.evaluation.tasks import task_of

TITLES = [
    {"text": "股市今天大幅上涨", "label": "股票"},
    {"text": "球队赢得了比赛", "label": "体育"},
    {"text": "央行宣布降低利率", "label": "股票"},
]


def text_lines(path: Path, *lines: str) -> Path:
    path.write_text("".join(line + "\n" for line in lines), encoding="utf-8")
    return path


def test_bad_rows_are_listed_with_file_and_line(tmp_path: Path) -> None:
    good = [json.dumps({"text": f"t{i}", "label": "ab"[i % 2]}) for i in range(6)]
    path = text_lines(
        tmp_path / "d.jsonl", *good, '{"text": "x"', "", '{"text": "x"}', '{"text": "  ", "label": "a"}',
        '{"text": "x", "label": null}', '{"text": ["x"], "label": "a"}', '{"text": "x", "label": 1.5}', "[1]",
    )  # fmt: skip
    with pytest.raises(InvalidInput) as caught:
        load_dataset(path)
    assert str(caught.value) == (
        "d.jsonl: 8 rows cannot be used, 6 texts can:\n"
        "  d.jsonl, line 7: broken JSON (unexpected end of data at character 13)\n"
        "  d.jsonl, line 8: an empty line\n"
        "  d.jsonl, line 9: no 'label'\n"
        "  d.jsonl, line 10: 'text' is an empty text\n"
        "  d.jsonl, line 11: no 'label'\n"
        "  d.jsonl, line 12: 'text' is a list, not a text\n"
        "  d.jsonl, line 13: 'label' is 1.5, neither a string nor a whole number\n"
        "  d.jsonl, line 14: a JSON array, not an object\n"
        "Mend them, or leave them out with --skip-bad (skip_bad=True). Nothing was computed."
    )
    data = load_dataset(path, skip_bad=True)
    assert isinstance(data, LabelledData)
    assert (len(data.texts), len(data.row_errors), data.row_errors[0].number) == (6, 8, 7)
    assert data.notes[-1].startswith("8 rows are left out:\n  d.jsonl, line 7")


def test_bad_csv_rows(tmp_path: Path) -> None:
    path = text_lines(tmp_path / "d.csv", "text,label", '"two', 'lines",a', "x,b,c", "y,b", "z")
    with pytest.raises(InvalidInput, match=r"line 4: 3 fields where the header has 2\n  d.csv, line 6: 1 fields"):
        load_dataset(path)


@pytest.mark.parametrize("name", ["d.jsonl", "d.csv", "d.tsv"])
def test_an_empty_file(tmp_path: Path, name: str) -> None:
    (tmp_path / name).touch()
    with pytest.raises(InvalidInput, match=f"{name} is empty"):
        load_dataset(tmp_path / name)


def test_a_header_alone(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no texts in it"):
        load_dataset(text_lines(tmp_path / "d.csv", "text,label"))


def test_an_empty_corpus(tmp_path: Path) -> None:
    folder = beir(tmp_path / "tea", CORPUS, QUERIES, QRELS)
    (folder / "corpus.jsonl").write_text("")
    with pytest.raises(InvalidInput, match=r"corpus.jsonl is empty"):
        load_dataset(folder)


def test_no_query_in_common(tmp_path: Path) -> None:
    folder = beir(tmp_path / "tea", CORPUS, QUERIES, [("1", "d1", 1), ("2", "d2", 1)])
    with pytest.raises(
        InvalidInput,
        match=r"judges no query of this dataset: its ids look like '1', '2', those of the queries like 'q1'",
    ):
        load_dataset(folder)


def test_no_document_in_common(tmp_path: Path) -> None:
    folder = beir(tmp_path / "tea", CORPUS, QUERIES, [("q1", "D1", 1)])
    with pytest.raises(
        InvalidInput, match=r"judges no document of this dataset: its ids look like 'D1', those of the corpus"
    ):
        load_dataset(folder)


def test_judgements_of_what_is_not_there_and_twice(tmp_path: Path) -> None:
    folder = beir(
        tmp_path / "tea", CORPUS, QUERIES, [*QRELS, ("q9", "d1", 1), ("q1", "d9", 1), ("q1", "d1", 1), ("q2", "d2", 1)]
    )
    with pytest.raises(InvalidInput) as caught:
        load_dataset(folder)
    assert "qrels/test.tsv, line 5: no query has the id 'q9'" in str(caught.value)
    assert "qrels/test.tsv, line 6: no document has the id 'd9'" in str(caught.value)
    assert "qrels/test.tsv, line 7: 'd1' has the grade 2 for 'q1' above, and 1 here" in str(caught.value)
    assert "line 8" not in str(caught.value)  # the same judgement again is no contradiction


@pytest.mark.parametrize("name", ["corpus", "queries"])
def test_duplicate_ids(tmp_path: Path, name: str) -> None:
    folder = beir(tmp_path / "tea", CORPUS, QUERIES, QRELS)
    with (folder / f"{name}.jsonl").open("a") as file:
        file.write(json.dumps({"_id": "d2" if name == "corpus" else "q2", "text": "again"}) + "\n")
    with pytest.raises(InvalidInput, match=rf"{name}.jsonl, line 4: the id '.2' is already in line 2"):
        load_dataset(folder)


def test_a_header_that_is_missing(tmp_path: Path) -> None:
    folder = beir(tmp_path / "tea", CORPUS, QUERIES, None)
    (folder / "qrels.tsv").write_text("q1\td1\t1\nq2\td2\t1\n")
    with pytest.raises(InvalidInput, match="needs a header of query-id, corpus-id and score; it has q1, d1, 1"):
        load_dataset(folder)


def same_labels(path: Path) -> Path:
    return jsonl(path, [{"text": f"t{i}", "label": "a"} for i in range(9)])


def own_labels(path: Path) -> Path:
    return jsonl(path, [{"text": f"t{i}", "label": i} for i in range(9)])


def same_scores(path: Path) -> Path:
    return jsonl(path, [{"text1": f"t{i}", "text2": "u", "score": 1} for i in range(9)])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (same_labels, "all 9 labels are 'a', so there is nothing to tell apart"),
        (own_labels, "every text has a label of its own"),
        (same_scores, "all 9 scores are 1, so there is nothing to order"),
    ],
)
def test_nothing_to_tell_apart(tmp_path: Path, make: Callable[[Path], Path], message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        load_dataset(make(tmp_path / "d.jsonl"))


def test_one_query(tmp_path: Path) -> None:
    data = load_dataset(jsonl(tmp_path / "d.jsonl", [{"query": "q", "positive": "a", "negatives": ["b", "c"]}]))
    with pytest.raises(InvalidInput, match=r"d has one query\. One value has no spread"):
        task_of(data)


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"query": "q", "positive": "a", "negative": "a"}, "one text is positive and negative: 'a'"),
        ({"query": "q", "positive": []}, "no 'positive'"),
        ({"query": "q", "positive": ["a", ""]}, r"positive\[1\] is an empty text"),
        ({"query": "", "positive": "a"}, "'query' is an empty text"),
    ],
)
def test_bad_positives(tmp_path: Path, row: dict[str, object], reason: str) -> None:
    with pytest.raises(InvalidInput, match=f"line 2: {reason}"):
        load_dataset(jsonl(tmp_path / "d.jsonl", [{"query": "fine", "positive": "a"}, row]))


@pytest.mark.parametrize(
    ("relevance", "reason"),
    [
        ([1], "2 documents and 1 grades"),
        ([0, 0], "no document is relevant"),
        ([1, 1], "all documents are equally relevant"),
        ([1, 0.5], r"relevance\[1\] is 0.5, not a whole number"),
        ([1, 2**31], r"relevance\[1\] is 2147483648; grades of relevance go to 100,000"),
        ("yes", "'relevance' is 'yes', not a list"),
    ],
)
def test_bad_candidates(tmp_path: Path, relevance: object, reason: str) -> None:
    with pytest.raises(InvalidInput, match=f"line 1: {reason}"):
        load_dataset(jsonl(tmp_path / "d.jsonl", [{"query": "q", "documents": ["a", "b"], "relevance": relevance}]))


def test_scores_that_are_none(tmp_path: Path) -> None:
    rows = [{"text1": "a", "text2": "b", "score": s} for s in ("high", float("nan"), None, 3, 4)]
    path = tmp_path / "d.csv"
    text_lines(path, "text1,text2,score", *(f"{r['text1']},{r['text2']},{r['score']}" for r in rows))
    with pytest.raises(InvalidInput, match=r"line 2: 'score' is 'high', not a number[\s\S]*line 3[\s\S]*line 4"):
        load_dataset(path)


def test_a_kind_that_does_not_fit(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", TITLES)
    with pytest.raises(
        InvalidInput, match="has the fields text, label, which can be classification, clustering, but not sts"
    ):
        load_dataset(path, "sts")
    with pytest.raises(InvalidInput, match="'nonsense' is not a kind of task"):
        load_dataset(path, "nonsense")
    with pytest.raises(InvalidInput, match=r"holds a corpus and queries, which can be retrieval, .* but not sts"):
        load_dataset(beir(tmp_path / "tea", CORPUS, QUERIES, None), "sts")


def test_a_folder_that_is_none(tmp_path: Path) -> None:
    jsonl(tmp_path / "a.jsonl", TITLES)
    jsonl(tmp_path / "b.jsonl", TITLES)
    with pytest.raises(InvalidInput, match=r"is no dataset: .*Files of known formats in it: a.jsonl, b.jsonl"):
        load_dataset(tmp_path)
    with pytest.raises(InvalidInput, match="no such file or folder"):
        load_dataset(tmp_path / "c")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "gb18030"])
@pytest.mark.parametrize("suffix", ["jsonl", "csv"])
def test_encodings_are_detected_and_said(tmp_path: Path, encoding: str, suffix: str) -> None:
    if suffix == "jsonl":
        path = jsonl(tmp_path / "d.jsonl", TITLES, encoding)
    else:
        path = tmp_path / "d.csv"
        lines = ["text,label", *(f"{row['text']},{row['label']}" for row in TITLES)]
        path.write_text("\n".join(lines), encoding=encoding)
    data = load_dataset(path)
    assert isinstance(data, LabelledData)
    assert data.texts == tuple(row["text"] for row in TITLES)
    said = [note for note in data.notes if "d." in note and ("UTF" in note or "GB" in note)]
    assert len(said) == (0 if encoding == "utf-8-sig" else 1)


def test_a_file_that_mixes_encodings_has_its_odd_lines_listed(tmp_path: Path) -> None:
    lines = [json.dumps(row, ensure_ascii=False) for row in TITLES]
    path = tmp_path / "d.jsonl"
    path.write_bytes(b"\n".join([lines[1].encode(), lines[1].encode("gb18030"), lines[0].encode(), lines[2].encode()]))
    with pytest.raises(
        InvalidInput,
        match=r"1 row cannot[\s\S]*line 2: not UTF-8 \(byte 0x.. at position 11\)",
    ):
        load_dataset(path)
    assert len(load_dataset(path, skip_bad=True).unit_metadata.ids) == 3


def test_files_of_a_folder_may_differ_in_encoding(tmp_path: Path) -> None:
    folder = beir(tmp_path / "tea", CORPUS, QUERIES, QRELS)
    jsonl(
        folder / "queries.jsonl",
        [{"_id": "q1", "text": "茶叶是什么东西？"}, {"_id": "q2", "text": "咖啡豆"}],
        "gb18030",
    )
    assert any("queries.jsonl is not UTF-8; it is read as GB18030" in note for note in load_dataset(folder).notes)


def test_another_encoding_is_refused_by_line_and_read_when_told(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("text,label\ncafé,a\nthé,b\nà côté,b\n", encoding="latin-1")
    with pytest.raises(
        InvalidInput, match=r"line 2: not UTF-8 \(byte 0xe9 at position 4\); as cp1252 it reads 'café,a'"
    ):
        load_dataset(path)
    data = load_dataset(path, encoding="latin-1")
    assert isinstance(data, LabelledData)
    assert data.texts == ("café", "thé", "à côté")
    with pytest.raises(InvalidInput, match="'klingon' is not a known encoding"):
        load_dataset(path, encoding="klingon")


def test_broken_utf_16_is_refused_as_a_whole(tmp_path: Path) -> None:
    path = jsonl(tmp_path / "d.jsonl", TITLES, "utf-16")
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InvalidInput, match=r"d.jsonl: broken UTF-16 after line \d .*Save it as UTF-8"):
        load_dataset(path)


@pytest.mark.parametrize("score", ["1_0", "0x1", " 1", "1 ", "１", "nan", "inf", "1e999", "1,5", "--1", ".", "e5", ""])
def test_what_is_no_number_is_no_score(tmp_path: Path, score: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(f'text1,text2,score\na,b,2.5\nc,d,"{score}"\ne,f,3\n')
    with pytest.raises(InvalidInput, match=r"line 3: 'score' is .*, not a number"):
        load_dataset(path)


@pytest.mark.parametrize(("score", "value"), [("-1", -1.0), ("+.5", 0.5), ("2.", 2.0), ("1e-3", 0.001), ("007", 7.0)])
def test_numbers_as_people_write_them(tmp_path: Path, score: str, value: float) -> None:
    path = tmp_path / "d.csv"
    path.write_text(f"text1,text2,score\na,b,2.5\nc,d,{score}\n")
    data = load_dataset(path)
    assert isinstance(data, PairsData)
    assert data.scores == (2.5, value)
