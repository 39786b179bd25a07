"""CSV and TSV as people's programs write them: split rightly, or refused with the option that tells."""

from __future__ import annotations

import csv
import io
from pathlib import Path

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from upsize.errors import InvalidInput
from upsize.io import FOUND_OUT, Format, ReadOptions, Source, open_source

GUTEN_TAG = [{"id": "1", "text": "Guten Tag"}, {"id": "2", "text": "a;b"}]


def read(path: Path, reading: ReadOptions = FOUND_OUT) -> list[dict[str, str] | str]:
    """Fields of each record, or its fault."""
    return [record.row_error or record.fields for record in open_source(path, path.name, reading=reading).records()]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize(
    "content",
    [
        'id;text\n1;Guten Tag\n2;"a;b"\n',
        "id,text\n1,Guten Tag\n2,a;b\n",
        "id\ttext\n1\tGuten Tag\n2\ta;b\n",
        "id|text\n1|Guten Tag\n2|a;b\n",
        "sep=\\t\nid\ttext\n1\tGuten Tag\n2\ta;b\n",
        "sep=\t\nid\ttext\n1\tGuten Tag\n2\ta;b\n",
        'sep=;\nid;text\n1;Guten Tag\n2;"a;b"\n',
        '"sep=;"\r\nid;text\r\n1;Guten Tag\r\n2;"a;b"\r\n',
        "SEP=|\nid|text\n1|Guten Tag\n2|a;b\n",
        "sep=^\nid^text\n1^Guten Tag\n2^a;b\n",
        '\ufeffid;text\r\n1;Guten Tag\r\n2;"a;b"\r\n',
        '\ufeffsep=;\r\nid;text\r\n1;Guten Tag\r\n2;"a;b"\r\n',
        'id;text\r1;Guten Tag\r2;"a;b"\r',
        '\n\n id ; text \n1;Guten Tag\n2;"a;b"',
        '"id";"text"\n"1";"Guten Tag"\n"2";"a;b"\n',
    ],
)
def test_the_separator_is_found(tmp_path: Path, content: str) -> None:
    assert read(write(tmp_path / "d.csv", content)) == GUTEN_TAG


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
def test_the_separator_is_found_in_other_encodings(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "d.csv", 'id;text\r\n1;Guten Tag\r\n2;"a;b"\r\n'.encode(encoding))
    assert read(path) == GUTEN_TAG


def test_decimal_commas_do_not_mislead(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "text;score\nguten Tag, Welt;0,5\nauf, ja, Wiedersehen;1,25\n")
    assert read(path) == [
        {"text": "guten Tag, Welt", "score": "0,5"},
        {"text": "auf, ja, Wiedersehen", "score": "1,25"},
    ]


def test_texts_of_any_length_with_newlines(tmp_path: Path) -> None:
    long = "word " * 60_000
    path = write(tmp_path / "d.csv", f'id;text\n1;"two\nlines; and ""quotes"""\n2;{long}\n3;last\n')
    assert read(path) == [
        {"id": "1", "text": 'two\nlines; and "quotes"'},
        {"id": "2", "text": long},
        {"id": "3", "text": "last"},
    ]
    assert [r.line for r in open_source(path, "d.csv").records()] == [2, 4, 5]


def test_lines_are_counted_from_the_top_of_the_file(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "sep=;\nid;text\n1;a\n2;b;c\n")
    assert [(r.line, r.row_error) for r in open_source(path, "d.csv").records()] == [
        (3, None),
        (4, "3 fields where the header has 2"),
    ]


@pytest.mark.parametrize(
    ("content", "texts"),
    [
        ('id\ttext\n1\t"Hello" he said\n2\tb"\n', ['"Hello" he said', 'b"']),
        ('id\ttext\n1\t"Hello"\n2\tb\n', ['"Hello"', "b"]),
        ('"id"\t"text"\n"1"\t"Hello"\n"2"\t"b"\n', ["Hello", "b"]),
        ('id\ttext\n1\t"two\nlines"\n2\tb\n', ["two\nlines", "b"]),
        ('id\ttext\n1\t"a ""good"" day"\n2\tb\n', ['a "good" day', "b"]),
    ],
)
def test_quotes_in_tsv_are_text_unless_they_must_be_quotes(tmp_path: Path, content: str, texts: list[str]) -> None:
    assert [row["text"] for row in read(write(tmp_path / "d.tsv", content)) if isinstance(row, dict)] == texts


def test_a_tsv_file_that_has_none(tmp_path: Path) -> None:
    assert read(write(tmp_path / "d.tsv", 'id;text\n1;Guten Tag\n2;"a;b"\n')) == GUTEN_TAG
    assert read(write(tmp_path / "e.tsv", "text\na, b\nc; d\n")) == [{"text": "a, b"}, {"text": "c; d"}]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (
            "id;text,long;n\n1;a;0,5\n2;b;1,5\n",
            r"commas \(2 fields\) or semicolons \(3 fields\)\. Say which with --del",
        ),
        ("id^text\n1^Guten Tag\n2^x\n", r"2 fields each if '\^' separates them. Then say --delimiter '\^'"),
        ("id::text\n1::Guten Tag\n2::x\n", "3 fields each if ':' sep"),
        ('id:text\n1:"Guten: Tag"\n', "2 fields each if ':' sep"),
        ('id text\n1 "Guten Tag"\n', "2 fields each if ' ' sep"),
        ("id\x1ftext\n1\x1fGuten Tag\n", r"2 fields each if '\\x1f' sep"),
        ("sep=,\nid;text\n1;Guten Tag\n2;x\n", "2 fields each if ';' sep"),
        ('{"text": "x"}\n{"text": "y"}\n', "looks like JSONL: say --format jsonl, or --format csv if it is csv"),
        ("My export\nid;text\n1;Guten Tag\n2;b\n", "first line has one field, the other lines 2, separated by semico"),
        ("My export\n1\tGuten Tag\n", "first line has one field, the other lines 2, separated by tabs"),
        ("id,text,text\n1,a,b\n", r"line 1: two columns of one name, 'text'\. Header: id, text, text"),
        ("id;text;;\n1;a;;\n", "line 1: 2 columns of the header have no name"),
        ('id,"te"xt\n1,a\n', "line 1: a broken CSV header"),
    ],
)
def test_what_cannot_be_told_is_refused(tmp_path: Path, content: str, message: str) -> None:
    path = write(tmp_path / "d.csv", content)
    with pytest.raises(InvalidInput, match=message):
        _ = open_source(path, "d.csv").columns


def test_the_user_may_say_the_separator(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", "id;text,long;n\n1;a;0,5\n")
    assert read(path, ReadOptions(delimiter=";")) == [{"id": "1", "text,long": "a", "n": "0,5"}]
    assert read(path, ReadOptions(delimiter=",")) == [{"id;text": "1;a;0", "long;n": "5"}]
    tabs = write(tmp_path / "t.csv", "a\tb\n1\t2\n")
    assert read(tabs, ReadOptions(delimiter="tab")) == [{"a": "1", "b": "2"}]
    for wrong in ("", ";;", '"', "x", "\n"):
        with pytest.raises(InvalidInput, match=r"--delimiter .*: give one character"):
            read(path, ReadOptions(delimiter=wrong))


def test_a_single_column_stays_one(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", 'text\nHello; world\nfoo\n"a, b"\nbar; foo; baz\n')
    assert read(path) == [{"text": t} for t in ("Hello; world", "foo", "a, b", "bar; foo; baz")]


def test_a_tab_in_a_quoted_text_separates_nothing(tmp_path: Path) -> None:
    assert read(write(tmp_path / "d.csv", 'text\n"one\ttwo"\n')) == [{"text": "one\ttwo"}]


def test_bad_rows_have_faults(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", b'id,text\n1,a\n2\n3,a\0b\n\n4,"x"y\n5,\xff\n6,good\n7,b\n8,c\n9,d\n')
    faults = {r.line: r.row_error for r in open_source(path, "d.csv").records() if r.row_error}
    assert faults == {
        3: "1 fields where the header has 2",
        4: "a NUL byte at position 2: not text",
        5: "an empty line",
        6: "broken CSV (',' expected after '\"')",
        7: "not UTF-8 (byte 0xff at position 1); as cp1252 it reads 'ÿ'",
    }


def test_a_header_alone_has_columns_and_no_records(tmp_path: Path) -> None:
    source = open_source(write(tmp_path / "d.csv", "id;text\n"), "d.csv")
    assert (list(source.columns), list(source.records())) == (["id", "text"], [])


fields = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=12)


@given(
    st.lists(st.lists(fields, min_size=3, max_size=3), min_size=1, max_size=8),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\n", "\r\n"]),
)
def test_any_rows_come_back(tmp_path_factory: pytest.TempPathFactory, rows: list[list[str]], by: str, end: str) -> None:
    """Rows written by a program, with a header of plain names, are read as they were."""
    assume(all(any(row) for row in rows))
    text = io.StringIO(newline="")
    csv.writer(text, delimiter=by, lineterminator=end).writerows([["id", "text", "lang"], *rows])
    path = tmp_path_factory.mktemp("rows") / "d.csv"
    path.write_bytes(text.getvalue().encode())
    assert read(path) == [dict(zip(("id", "text", "lang"), row, strict=True)) for row in rows]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16-le", "utf-16-be"])
def test_a_mark_is_no_part_of_the_header_where_the_encoding_is_told(tmp_path: Path, encoding: str) -> None:
    path = write(tmp_path / "d.csv", '\ufeff"id";"text"\n1;Guten Tag\n2;"a;b"\n'.encode(encoding))
    assert read(path, ReadOptions(encoding)) == GUTEN_TAG


def test_a_header_of_very_many_columns(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", ",".join(f"c{i}" for i in range(100_000)) + "\n1,2\n")
    (row_error,) = read(path)
    assert row_error == "2 fields where the header has 100000"


def test_a_source_is_read_as_its_format_says() -> None:
    assert Source("rows.jsonl", Path("rows.jsonl"), Format.JSONL).unit == "line"
    assert Source("rows.parquet", Path("rows.parquet"), Format.PARQUET).unit == "row"
