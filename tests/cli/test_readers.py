"""embed, rerank, index add and choose read a file alike: columns are split, encodings told, or the file refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow
import pytest
from pyarrow import parquet

from tests.cli.conftest import Ran
from upsize.errors import InvalidInput
from upsize.evaluation.datasets import LabelledData, load_dataset

Command = Callable[..., Ran]
Read = Callable[..., "dict[str, str] | str"]

TABLES = {
    "excel-sep.csv": b'\xef\xbb\xbfsep=;\r\nid;text\r\n1;Guten Tag\r\n2;"a;b"\r\n',
    "tabs.tsv": b"id\ttext\n1\tGuten Tag\n2\ta;b\n",
    "packed.csv.gz": gzip.compress(b'id;text\n1;Guten Tag\n2;"a;b"\n'),
}
KOREAN = "id,text\n1,배송이 너무 늦었어요\n2,환불을 받고 싶은데요\n".encode("euc-kr")


@pytest.fixture
def embedded(upsize: Command, tmp_path: Path, embedder_folder: Path) -> Read:
    """Id → the number of tokens that were embedded, as text; or the error."""

    def read(path: Path | str, *options: str, stdin: bytes = b"") -> dict[str, str] | str:
        output = tmp_path / "out.jsonl"
        ran = upsize(
            "embed", path, "-o", output, "-m", embedder_folder, "--id-field", "id", "--overwrite", *options, stdin=stdin
        )
        if ran.code:
            return ran.err
        return {row["id"]: str(row["tokens"]) for row in map(json.loads, output.read_text().splitlines())}

    return read


@pytest.fixture
def reranked(upsize: Command, reranker_folder: Path) -> Read:
    """Id → the document that was scored; or the error."""

    def read(path: Path | str, *options: str, stdin: bytes = b"") -> dict[str, str] | str:
        ran = upsize("rerank", "x", path, "-m", reranker_folder, "--json", "--id-field", "id", *options, stdin=stdin)
        return ran.err if ran.code else {row["id"]: row["document"] for row in map(json.loads, ran.out.splitlines())}

    return read


@pytest.fixture
def added(upsize: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Read:
    """Id → the document in the index; or the error."""
    monkeypatch.setenv("UPSIZE_INDEXES", str(tmp_path / "indexes"))
    assert upsize("index", "create", "docs", "-m", "demo-xs").code == 0

    def read(path: Path | str, *options: str, stdin: bytes = b"") -> dict[str, str] | str:
        ran = upsize("index", "add", "docs", path, *options, stdin=stdin)
        if ran.code:
            return ran.err
        found: dict[str, Any] = json.loads(upsize("index", "search", "docs", "x", "--json").out)
        return {hit["id"]: hit["text"] for hit in found["results"]}

    return read


@pytest.mark.parametrize("name", TABLES)
def test_tables_are_split(tmp_path: Path, reranked: Read, name: str) -> None:
    (tmp_path / name).write_bytes(TABLES[name])
    assert reranked(tmp_path / name) == {"1": "Guten Tag", "2": "a;b"}


def test_embed_splits_tables(tmp_path: Path, embedded: Read) -> None:
    (tmp_path / "d.csv").write_bytes(TABLES["excel-sep.csv"])
    (tmp_path / "plain.jsonl").write_text('{"id": "1", "text": "Guten Tag"}\n{"id": "2", "text": "a;b"}\n')
    assert embedded(tmp_path / "d.csv") == embedded(tmp_path / "plain.jsonl")


def test_index_add_splits_tables_and_is_told_encodings(tmp_path: Path, added: Read) -> None:
    (tmp_path / "d.txt").write_bytes(TABLES["tabs.tsv"])
    assert "looks like a table separated by tabs" in added(tmp_path / "d.txt")
    (tmp_path / "d.csv").write_bytes(KOREAN.replace(b",", b";"))
    assert "d.csv, line 2: not UTF-8" in added(tmp_path / "d.csv")
    assert added(tmp_path / "d.csv", "--encoding", "euc-kr") == {
        "1": "배송이 너무 늦었어요",
        "2": "환불을 받고 싶은데요",
    }


def test_standard_input_may_be_a_table(reranked: Read) -> None:
    table = TABLES["excel-sep.csv"]
    assert "Standard input looks like a table separated by semicolons" in reranked("-", stdin=table)
    assert reranked("-", "--format", "csv", stdin=table) == {"1": "Guten Tag", "2": "a;b"}
    assert reranked("-", "--format", "csv", stdin=TABLES["packed.csv.gz"]) == {"1": "Guten Tag", "2": "a;b"}


def test_a_separator_that_is_not_known(tmp_path: Path, reranked: Read) -> None:
    path = tmp_path / "d.csv"
    path.write_text("id^text\n1^Guten Tag\n")
    assert "2 fields each if '^' separates them. Then say --delimiter '^'" in reranked(path)
    assert reranked(path, "--delimiter", "^") == {"1": "Guten Tag"}


def test_another_encoding_is_refused_and_read_when_told(tmp_path: Path, embedded: Read, reranked: Read) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes(KOREAN)
    for read in (embedded, reranked):
        said = read(path)
        assert "d.csv, line 2: not UTF-8" in said
        assert "--encoding; cp949 would be Korean" in said
    assert reranked(path, "--encoding", "euc-kr") == {"1": "배송이 너무 늦었어요", "2": "환불을 받고 싶은데요"}
    assert set(embedded(path, "--encoding", "euc-kr")) == {"1", "2"}


def test_what_does_not_apply_is_refused(tmp_path: Path, reranked: Read) -> None:
    (tmp_path / "d.jsonl").write_text('{"id": "1", "text": "x"}\n')
    assert "is read as jsonl, which has no delimiter" in reranked(tmp_path / "d.jsonl", "--delimiter", ";")
    assert "has no delimiter" in reranked("-", "--format", "text", "--delimiter", ";", stdin=b"x\n")
    parquet.write_table(pyarrow.table({"text": ["x"], "label": ["a"]}), tmp_path / "d.parquet")
    assert "whose texts are UTF-8" in reranked(tmp_path / "d.parquet", "--encoding", "cp949")
    with pytest.raises(InvalidInput, match="leave --encoding out"):
        load_dataset(tmp_path / "d.parquet", encoding="cp949")


def test_labelled_data_is_read_alike(tmp_path: Path) -> None:
    path = tmp_path / "d.csv.gz"
    path.write_bytes(gzip.compress('sep=|\nlabel|text\na|"größer|kleiner"\nb|x\na|y\n'.encode("cp1252")))
    data = load_dataset(path, encoding="cp1252")
    assert isinstance(data, LabelledData)
    assert (data.name, data.texts) == ("d", ("größer|kleiner", "x", "y"))
    assert "d.csv.gz is separated by vertical bars." in data.notes
    (tmp_path / "e.csv").write_text("text^label\nx^a\ny^b\nz^a\n")
    data = load_dataset(tmp_path / "e.csv", delimiter="^")
    assert isinstance(data, LabelledData)
    assert data.texts == ("x", "y", "z")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("text\n", "no rows"),
        ("", "no rows"),
        ("How do I return it?\nWhere is my order?\n", "the first line names the fields, and 'How do I return it?' is"),
        ("12\n13\n", "'12' is no name"),
    ],
)
def test_csv_without_rows_or_header(upsize: Command, tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "d.csv").write_text(content)
    assert message in upsize("embed", tmp_path / "d.csv", "-o", tmp_path / "o.npy").err


def test_the_field_of_the_texts_is_told(upsize: Command, tmp_path: Path, embedder_folder: Path) -> None:
    (tmp_path / "d.csv").write_text("Guten Tag\nHallo\n")
    ran = upsize("embed", tmp_path / "d.csv", "-o", tmp_path / "o.npy", "-m", embedder_folder)
    assert "the texts are in 'Guten Tag', the only field of text" in ran.err


def test_the_sidecar_says_how_the_file_was_read(upsize: Command, tmp_path: Path, embedder_folder: Path) -> None:
    path, output = tmp_path / "d.txt", tmp_path / "o.npy"
    path.write_bytes("".join(f"배송 {i}\n" for i in range(5)).encode("euc-kr"))
    facts = []
    for encoding in ("euc-kr", "gb18030"):
        ran = upsize(
            "embed", path, "-o", output, "-m", embedder_folder, "--encoding", encoding, "--overwrite", "--checkpoint", 0
        )
        assert ran.code == 0, ran.err
        facts.append(json.loads((tmp_path / "o.npy.json").read_text()))
    assert [f["encoding"] for f in facts] == ["euc_kr", "gb18030"]
