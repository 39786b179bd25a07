"""Files of all kinds: compressed, with other line ends, with other things in them than their name says."""

from __future__ import annotations

import bz2
import gzip
import json
import lzma
from collections.abc import Callable
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from upsize.errors import InvalidInput
from upsize.io import Format, find, format_of, open_source


def texts(path: Path) -> list[object]:
    return [record.fields.get("text", record.row_error) for record in open_source(path, path.name).records()]


@pytest.mark.parametrize(
    ("packed", "pack"), [(".gz", gzip.compress), (".bz2", bz2.compress), (".xz", lzma.compress), ("", bytes)]
)
@pytest.mark.parametrize(
    ("suffix", "content"),
    [(".txt", "a\nb\n"), (".jsonl", '{"text": "a"}\n{"text": "b"}\n'), (".csv", "id;text\n1;a\n2;b\n")],
)
def test_compressed_files(
    tmp_path: Path, suffix: str, content: str, packed: str, pack: Callable[[bytes], bytes]
) -> None:
    path = tmp_path / f"d{suffix}{packed}"
    path.write_bytes(pack(content.encode()))
    assert texts(path) == ["a", "b"]
    assert (find(tmp_path, "d"), open_source(path, "d").stem) == (path, "d")
    path.rename(tmp_path / f"d{suffix}")  # what it is tell its bytes, not its name
    assert texts(tmp_path / f"d{suffix}") == ["a", "b"]


@pytest.mark.parametrize("cut", [4, 30, 3000])
def test_a_damaged_compressed_file(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "d.jsonl.gz"
    rows = "".join(json.dumps({"text": f"{i} {i * 7919 % 1000}"}) + "\n" for i in range(3000))
    path.write_bytes(gzip.compress(rows.encode())[:cut])
    with pytest.raises(InvalidInput, match=r"d\.jsonl\.gz: (damaged compressed data|cannot be read after line)"):
        texts(path)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_line_ends(tmp_path: Path, end: str) -> None:
    (tmp_path / "d.txt").write_bytes(end.join(["one", "two\u2028x\x85\x0b", "three"]).encode())
    assert texts(tmp_path / "d.txt") == ["one", "two\u2028x\x85\x0b", "three"]
    (tmp_path / "d.jsonl").write_bytes(end.join(['{"text": "one"}', '{"text": "two"}', ""]).encode())
    assert texts(tmp_path / "d.jsonl") == ["one", "two"]


def test_a_carriage_return_within_a_line_is_text(tmp_path: Path) -> None:
    (tmp_path / "d.txt").write_bytes(b"one\rtwo\nthree\n")
    assert texts(tmp_path / "d.txt") == ["one\rtwo", "three"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id\ttext\n1\tGuten Tag\n", "looks like a table separated by tabs.*--format tsv.*--format text if each line"),
        ("1\tGuten Tag\n2\tHallo\n", "looks like a table separated by tabs"),
        ('id;text\n1;Guten Tag\n2;"a;b"\n', "looks like a table separated by semicolons.*--format csv"),
        ("id,text\n1,Guten Tag\n", "looks like a table separated by commas"),
        ("sep=;\nid;text\n", "looks like a table separated by semicolons"),
        ('{"text": "x"}\n', "looks like JSONL: say --format jsonl, or --format text"),
        ('\ufeff{ "text": "x"}\n', "looks like JSONL"),
    ],
)
def test_records_in_a_text_file_are_not_embedded_whole(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "d.txt"
    path.write_text(content)
    with pytest.raises(InvalidInput, match=message):
        open_source(path, "d.txt")
    lines = [r.fields["text"] for r in open_source(path, "d.txt", Format.TEXT).records()]
    assert lines == content.removeprefix("\ufeff").splitlines()


@pytest.mark.parametrize(
    "content", ["One, two.\nThree, four.\n", "a; b\nc; d\n", "Question: why?\nText, he said.\n", "a\tb\n", "{}\n{x}\n"]
)
def test_prose_is_read_as_lines(tmp_path: Path, content: str) -> None:
    (tmp_path / "d.txt").write_text(content.replace("{}\n", "{x}\n"))
    assert len(texts(tmp_path / "d.txt")) == content.count("\n")


@pytest.mark.parametrize(
    ("head", "message"),
    [
        (b"PK\x03\x04....", "a zip archive or an Excel workbook, not text. Unpack it, or export the sheet as CSV"),
        (bytes(10_000), "is not text: it has NUL bytes"),
        (b"\xd0\xcf\x11\xe0....", "an old Excel workbook"),
        (b"PAR1....", "a Parquet file, not text. Say --format parquet"),
        (b"%PDF-1.7 ", "a PDF document"),
        (b"\x28\xb5\x2f\xfd....", "compressed by zstd"),
        (b"\x93NUMPY\x01\x00", "an array of NumPy"),
        (b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR\0\0\0\x01\0\0\0\x01\x08\x06", "is not text: it has NUL bytes"),
    ],
)
@pytest.mark.parametrize("name", ["d.csv", "d.txt", "d.jsonl"])
def test_other_things_are_refused_by_what_they_are(tmp_path: Path, name: str, head: bytes, message: str) -> None:
    (tmp_path / name).write_bytes(head)
    with pytest.raises(InvalidInput, match=message):
        texts(tmp_path / name)


def test_documents_of_an_office_are_called_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "d.docx").write_bytes(b"PK\x03\x04....")
    with pytest.raises(InvalidInput, match=r"d\.docx is a Word document, not text\. Save it as plain text"):
        open_source(tmp_path / "d.docx", "d.docx")


def test_names_that_tell_no_format(tmp_path: Path) -> None:
    for name, message in (
        ("data", "the suffix '' is of no known format"),
        ("d.json", "jq -c"),
        ("d.parquet.gz", "'.gz'"),
    ):
        (tmp_path / name).write_text("[]")
        with pytest.raises(InvalidInput, match=message):
            open_source(tmp_path / name, name)
    assert open_source(tmp_path / "data", "data", Format.CSV).format is Format.CSV
    with pytest.raises(InvalidInput, match=r"/dev/null: not a regular file: pipe it into `-`"):
        open_source(Path("/dev/null"), "/dev/null", Format.TEXT)
    assert format_of(Path("A.CSV.GZ")) is Format.CSV


def test_fields_of_jsonl_are_those_of_many_records(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"id": 1, "text": null}\n{"id": 2, "text": "x", "lang": "en"}\n')
    assert open_source(path, "d.jsonl").columns == {"id": False, "text": True, "lang": True}


def test_a_parquet_value_that_python_cannot_hold_is_its_rows_fault(tmp_path: Path) -> None:
    broken = pyarrow.StringArray.from_buffers(
        3, pyarrow.py_buffer(b"\0\0\0\0\1\0\0\0\2\0\0\0\3\0\0\0"), pyarrow.py_buffer(b"a\xffc")
    )
    parquet.write_table(pyarrow.table({"text": broken}), tmp_path / "d.parquet")
    first, second, third = texts(tmp_path / "d.parquet")
    assert (first, third) == ("a", "c")
    assert str(second).startswith("a value that cannot be read (")
