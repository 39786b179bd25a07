"""`upsize rerank`: one query's documents in order, a file of queries, and what it says of mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Ran
from upsize import Reranker

Command = Callable[..., Ran]
QUERY = "What is the capital of China?"
DOCUMENTS = ["Gravity is a force.", "The capital of China is Beijing.", "A recipe for soup."]


@pytest.fixture
def documents(tmp_path: Path) -> Path:
    path = tmp_path / "docs.txt"
    path.write_text("\n".join(DOCUMENTS) + "\n")
    return path


@pytest.fixture
def queries(tmp_path: Path) -> Path:
    """120 queries with one to three documents each."""
    path = tmp_path / "queries.jsonl"
    rows = ({"id": i, "query": f"train {i}?", "documents": DOCUMENTS[: 1 + i % 3]} for i in range(120))
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_a_title_that_is_left_out_is_said(upsize: Command, tmp_path: Path, reranker_folder: Path) -> None:
    for name, said in (("title", True), ("Heading", False)):
        (tmp_path / "d.jsonl").write_text(json.dumps({"text": "a", name: "b"}) + "\n")
        ran = upsize("rerank", QUERY, tmp_path / "d.jsonl", "--text-field", "text", "-m", reranker_folder, "--json")
        assert ("d.jsonl: the texts are in 'text' alone, without the 'title'" in ran.err) == said


def test_one_query_as_a_table(upsize: Command, documents: Path, reranker_folder: Path) -> None:
    ran = upsize("rerank", QUERY, documents, "-m", reranker_folder)
    with Reranker(str(reranker_folder)) as reranker:
        best = reranker.rank(QUERY, DOCUMENTS)
    assert ran.code == 0, ran.err
    lines = [line.split(maxsplit=3) for line in ran.out.splitlines()[1:]]
    assert [(line[0], line[1], line[2], line[3].strip()) for line in lines] == [
        (str(place), f"{d.score:.4f}", str(d.index + 1), d.document) for place, d in enumerate(best, 1)
    ]


def test_one_query_as_lines(upsize: Command, tmp_path: Path, documents: Path, reranker_folder: Path) -> None:
    output = tmp_path / "ranked.jsonl"
    arguments = ["rerank", QUERY, "-", "-m", reranker_folder, "--top-n", 2, "--instruction", "Sort"]
    ran = upsize(*arguments, "--json", stdin=documents.read_bytes())
    with Reranker(str(reranker_folder)) as reranker:
        best, fingerprint = reranker.rank(QUERY, DOCUMENTS, "Sort", 2), reranker.fingerprint.id
    rows = [json.loads(line) for line in ran.out.splitlines()]
    assert [(row["line"], row["document"]) for row in rows] == [(d.index + 1, d.document) for d in best]
    np.testing.assert_allclose([row["score"] for row in rows], [d.score for d in best], atol=1e-5)
    assert {row["fingerprint"] for row in rows} == {fingerprint}
    ran = upsize(*arguments, "-o", output, stdin=documents.read_bytes())
    assert [json.loads(line) for line in output.read_text().splitlines()] == rows
    assert "2 documents, best first" in ran.out
    assert "Add --overwrite" in upsize(*arguments, "-o", output, stdin=documents.read_bytes()).err


def test_bad_and_long_documents_of_one_query(
    upsize: Command, tmp_path: Path, documents: Path, reranker_folder: Path
) -> None:
    documents.write_text("good\n\n" + "long " * 2000 + "\n")
    arguments = ["rerank", QUERY, documents, "-m", reranker_folder, "--json"]
    ran = upsize(*arguments)
    assert ran.code == 1
    assert "2 of 3 rows cannot be used (--truncate cuts long texts)" in ran.err
    assert "line 2: an empty text" in ran.err
    assert "tokens, and at most 1,024 are taken" in ran.err
    ran = upsize(*arguments, "--skip-bad", "--truncate")
    assert "1 rows skipped:\n  line 2" in ran.err
    assert "1 documents lost" in ran.err
    assert len(ran.out.splitlines()) == 2


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_a_file_of_queries(upsize: Command, tmp_path: Path, queries: Path, reranker_folder: Path, suffix: str) -> None:
    source, output = tmp_path / f"rows{suffix}", tmp_path / f"out{suffix}"
    rows = [json.loads(line) for line in queries.read_text().splitlines()]
    if suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), source)
    else:
        source = queries
    ran = upsize("rerank", source, "-o", output, "-m", reranker_folder, "--id-field", "id", "--top-n", 2)
    assert ran.code == 0, ran.err
    assert "120 queries in" in ran.out
    got = (
        pq.read_table(output).to_pylist()
        if suffix == ".parquet"
        else [json.loads(line) for line in output.read_text().splitlines()]
    )
    assert [row["id"] for row in got] == list(range(120))
    with Reranker(str(reranker_folder)) as reranker:
        for row in (got[0], got[119]):
            best = reranker.rank(rows[row["id"]]["query"], rows[row["id"]]["documents"], None, 2)
            assert [r["index"] for r in row["results"]] == [d.index for d in best]
            np.testing.assert_allclose([r["score"] for r in row["results"]], [d.score for d in best], atol=1e-5)
        facts = json.loads((tmp_path / f"out{suffix}.json").read_text())
        assert facts["fingerprint"]["id"] == reranker.fingerprint.id
        assert facts["instruction"] == reranker.instruction


def test_stopped_and_resumed(
    upsize: Command, tmp_path: Path, queries: Path, reranker_folder: Path, largest_file: Callable[[int], None]
) -> None:
    output, journal = tmp_path / "out.jsonl", tmp_path / "out.jsonl.partial" / "journal.jsonl"
    command = ["rerank", queries, "-o", output, "-m", reranker_folder, "--checkpoint", 0]
    largest_file(10_000)
    assert "the file has reached its size limit" in upsize(*command).err
    largest_file(1_000_000)
    done = json.loads(journal.read_bytes().splitlines()[-1])["rows"]
    assert 0 < done < 120
    assert "top_n was None and is now 1" in upsize(*command, "--top-n", 1).err
    ran = upsize(*command)
    assert f"120 queries ({done} of them by an earlier run)" in ran.out
    upsize("rerank", queries, "-o", tmp_path / "whole.jsonl", "-m", reranker_folder)
    for one, other in zip(
        output.read_text().splitlines(), (tmp_path / "whole.jsonl").read_text().splitlines(), strict=True
    ):
        a, b = json.loads(one), json.loads(other)
        assert (a["line"], [r["index"] for r in a["results"]]) == (b["line"], [r["index"] for r in b["results"]])
        np.testing.assert_allclose([r["score"] for r in a["results"]], [r["score"] for r in b["results"]], atol=1e-5)


def test_bad_rows(upsize: Command, tmp_path: Path, reranker_folder: Path) -> None:
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.jsonl"
    rows = [
        {"query": "q", "documents": ["d"]},
        {"query": " ", "documents": ["d"]},
        {"query": "q"},
        {"query": "q", "documents": "d"},
        {"query": "q", "documents": []},
        {"query": "q", "documents": ["d", None]},
        {"query": "q", "documents": ["d", ""]},
        {"query": "q", "documents": ["d", "long " * 2000]},
        {"query": "long " * 2000, "documents": ["d"]},
    ]
    faults = {
        2: "'query' is empty",
        3: "no 'documents'",
        4: "'documents' is not a list",
        5: "'documents' is an empty list",
        6: "no documents[1]",
        7: "documents[1] is empty",
        8: "documents[1] makes ",
        9: "the query alone makes ",
    }
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    ran = upsize("rerank", source, "-o", output, "-m", reranker_folder)
    assert ran.code == 1
    for line, fault in faults.items():
        assert f"line {line}: {fault}" in ran.err
    ran = upsize("rerank", source, "-o", output, "-m", reranker_folder, "--skip-bad", "--truncate")
    assert [json.loads(line)["line"] for line in output.read_text().splitlines()] == [1, 8]
    assert [r["line"] for r in json.loads((tmp_path / "out.jsonl.json").read_text())["truncated"]] == [8]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["how do plants eat?"], 2, "'how do plants eat?' is not a file. For one query give its documents too"),
        (["how?", "missing.txt"], 1, "missing.txt: no such file."),
        (["queries.jsonl"], 2, "a file of queries needs a file for the results"),
        (["queries.jsonl", "-o", "out.npy"], 2, "one of .jsonl, .parquet"),
        (["queries.jsonl", "-o", "out.jsonl", "--json"], 2, "is for one query"),
        (["how?", "docs.txt", "-o", "out.parquet"], 2, "the suffix chooses the format, one of .jsonl"),
        (["docs.txt", "-o", "out.jsonl"], 1, "docs.txt is read as text, which cannot hold a list of documents"),
        (["wrong.parquet", "-o", "out.jsonl"], 1, "wrong.parquet has no field 'documents'. Fields: query, texts."),
        (["how?", "docs.txt", "--topn", "3"], 2, "No such option: --topn"),
    ],
)
def test_mistakes(
    upsize: Command,
    tmp_path: Path,
    documents: Path,
    queries: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    pq.write_table(pa.table({"query": ["q"], "texts": [["d"]]}), "wrong.parquet")
    before = sorted(tmp_path.iterdir())
    ran = upsize("rerank", *arguments)
    assert (ran.code, message in ran.err) == (code, True), ran.err
    assert sorted(tmp_path.iterdir()) == before


def test_an_embedder_is_refused(upsize: Command, documents: Path, embedder_folder: Path) -> None:
    ran = upsize("rerank", QUERY, documents, "-m", embedder_folder)
    assert ran.code == 1
    assert f"{embedder_folder}: expected a reranker; found an embedder (" in ran.err
    assert "upsize embed" in ran.err
