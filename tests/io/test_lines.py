"""Lines: an object holds a key once, ^Z ends a file, and lines that look like a table's are said to."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsize.errors import InvalidInput
from upsize.io import Format, ReadOptions, open_source
from upsize.io.jsonline import record_of


def read(path: Path, content: bytes, **options: Any) -> list[Any]:
    path.write_bytes(content)
    records = open_source(path, path.name, **options).records()
    return [record.row_error or list(record.fields.values()) for record in records]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('{"text": "a", "text": "b"}', "text"),
        ('{"text": "a", "text": "a"}', "text"),
        ('{"text": "a", "te\\u0078t": "b"}', "text"),
        ('{"text" \t: "a", "id": 1, "text":"b"}', "text"),
        ('{"text": "a", "meta": {"lang": "en", "lang": "de"}}', "lang"),
        ('{"text": "a", "list": [1, {"x": {"k": 1, "k": 2}}]}', "k"),
        ('{"": 1, "text": "\\":\\":", "": 2}', ""),
        ('{"text": "a", "n": ' + "9" * 40 + ', "text": "b"}', "text"),
    ],
)
def test_a_key_that_is_there_twice_is_named(line: str, key: str) -> None:
    assert record_of(3, line).row_error == f"the key {key!r} is there twice"


def test_texts_that_look_like_keys_repeat_nothing() -> None:
    value = {"text": 'say "a": "a": ', "more": ['"b":', {"text": '\\":'}, {"text": 1}], "a": {"a": {"a": 1}}}
    assert record_of(1, json.dumps(value)).fields == value


@given(st.lists(st.tuples(st.sampled_from(["a", "b", '":', '\\"', "é"]), st.sampled_from(['"x":', "1", "[{}]"]))))
def test_keys_are_counted_whatever_they_hold(pairs: list[tuple[str, str]]) -> None:
    line = "{" + ",".join(f"{json.dumps(key)} : {json.dumps(value)}" for key, value in pairs) + "}"
    assert (record_of(1, line).row_error is not None) == (len(dict(pairs)) < len(pairs))


def test_an_object_nested_deeply_is_read_or_refused() -> None:
    deep = '{"a":' * 1000 + '"\\":"' + "}" * 1000
    assert record_of(1, deep).row_error in (None, "objects or lists nested too deeply")
    assert str(record_of(1, '{"a":' * 100_000).row_error).startswith("broken JSON")


@pytest.mark.parametrize("end", ["\x1a", "\x1a" * 100, "b\x1a"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le"])
@pytest.mark.parametrize(
    ("name", "content"),
    [("d.txt", "one\ntwo\n"), ("d.csv", "text,x\none,1\ntwo,2\n"), ("d.tsv", "text\tx\none\t1\ntwo\t2\n")],
)
def test_the_end_mark_of_dos_is_no_text(tmp_path: Path, name: str, content: str, encoding: str, end: str) -> None:
    content = content.removesuffix("\n") if end.startswith("b") else content
    end = end.removeprefix("b")
    expected = read(tmp_path / name, content.encode(encoding))
    assert read(tmp_path / name, (content + end).encode(encoding)) == expected


def test_the_end_mark_after_a_record_of_json_or_in_a_compressed_file(tmp_path: Path) -> None:
    assert read(tmp_path / "d.jsonl", b'{"text": "a"}\r\n\x1a') == [["a"]]
    assert read(tmp_path / "d.jsonl", b'{"text": "a"}\x1a') == [["a"]]
    assert read(tmp_path / "d.txt.gz", gzip.compress(b"a\nb\n\x1a")) == [["a"], ["b"]]
    assert read(tmp_path / "d.txt", b"\x1a") == []


@pytest.mark.parametrize(
    ("content", "texts"),
    [(b"\x1aa\nb\x1ac\n", ["\x1aa", "b\x1ac"]), (b"a\n\x1a\nb\n", ["a", "\x1a", "b"]), (b"a\x1a\n", ["a\x1a"])],
)
def test_the_end_mark_elsewhere_is_text(tmp_path: Path, content: bytes, texts: list[str]) -> None:
    assert read(tmp_path / "d.txt", content) == [[text] for text in texts]
    assert read(tmp_path / "d.csv", b"text\n" + content) == [[text] for text in texts]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("a|b|c\nd|e|f\n", r"3 fields each if vertical bars separate them.* --format csv --delimiter '\|'"),
        ("1;Guten Tag\n2;Hallo\n3;Ja\n4;Nein\n5;Doch\n", "2 fields each if semicolons separate them"),
        ("a,b,c\n" * 10, "3 fields each if commas separate them"),
    ],
)
def test_lines_that_may_be_a_tables_are_texts_with_a_note(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "d.txt"
    assert read(path, content.encode()) == [[line] for line in content.splitlines()]
    (note,) = open_source(path, "d.txt").notes
    assert re.search(message, note)
    assert open_source(path, "d.txt", Format.TEXT).notes == ()
    table = open_source(path, "d.txt", Format.CSV, ReadOptions(delimiter=content[1]))
    assert len(table.columns) == content.split("\n")[0].count(content[1]) + 1


@pytest.mark.parametrize(
    "content",
    [
        "a|b|c\nd|e\n", "one line | alone\n", "a; b\nc; d\n", "Yes, he said.\nNo, she said.\n" * 20,
        "plain\nlines\n", "a;b\n" * 4,
    ],
)  # fmt: skip
def test_sentences_get_no_note(tmp_path: Path, content: str) -> None:
    (tmp_path / "d.txt").write_text(content)
    assert open_source(tmp_path / "d.txt", "d.txt").notes == ()


@pytest.mark.parametrize("name", ["d.txt", "d.jsonl", "d.csv", "d.tsv"])
def test_a_line_without_end_is_refused_before_it_fills_the_memory(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("lines", "delimited"):
        monkeypatch.setattr(f"upsize.io.{module}.LONGEST", 1000)
    monkeypatch.setattr("upsize.io.lines.BLOCK", 100)
    told = ReadOptions("utf-8")  # then nothing else reads the file first
    with pytest.raises(InvalidInput, match=r"d\.\w+, line 2: more than 1,000 characters"):
        read(tmp_path / name, (b"{}" if name == "d.jsonl" else b"text") + b"\n" + b"x" * 5000, reading=told)


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize("block", [2, 3, 7, 1000])
def test_lines_are_whole_however_they_are_read(
    tmp_path: Path, block: int, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = ["", "a", "", "bb", "ccc" * 5, "é", "x"]
    monkeypatch.setattr("upsize.io.encoding.BLOCK", block)
    if end != "\r":  # which is found out from the first block
        monkeypatch.setattr("upsize.io.lines.BLOCK", block)
    assert read(tmp_path / "d.txt", end.join(texts).encode()) == [[text] for text in texts]
    assert read(tmp_path / "d.txt", (end.join(texts) + end).encode()) == [[text] for text in texts]
    broken = read(tmp_path / "d.txt", end.join(texts * 9).encode() + b"\xff")
    assert broken[:-1] == [[text] for text in (texts * 9)[:-1]]
    assert str(broken[-1]).startswith("not UTF-8 (byte 0xff at position 2)")
