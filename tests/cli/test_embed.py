"""`upsize embed`: what comes out for every sort of input, and what it says of mistakes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.cli.conftest import Ran
from upsize import Embedder

Command = Callable[..., Ran]
ROWS = [
    {"id": "a", "text": "The capital of China is Beijing.", "n": 1},
    {"id": "b", "text": 'A recipe for "soup",\nwith onions.', "n": 2},
    {"id": "c", "text": "中国的首都是北京。", "n": 3},
]


@pytest.fixture
def expected(embedder_folder: Path) -> np.ndarray:
    with Embedder(str(embedder_folder)) as embedder:
        return embedder.encode_document([row["text"] for row in ROWS])


def write(path: Path, rows: list[dict[str, object]] = ROWS) -> Path:
    """The rows, in the format of the suffix."""
    if path.suffix == ".jsonl":
        path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))
    elif path.suffix == ".csv":
        cells = [list(rows[0]), *(row.values() for row in rows)]
        path.write_text(
            "".join(",".join('"' + str(c).replace('"', '""') + '"' for c in row) + "\r\n" for row in cells), newline=""
        )
    else:
        pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def vectors(path: Path) -> np.ndarray:
    """The vectors of an output of any format."""
    if path.suffix == ".npy":
        return np.load(path)
    if path.suffix == ".jsonl":
        return np.asarray([json.loads(line)["embedding"] for line in path.read_text().splitlines()], np.float32)
    return np.asarray(pq.read_table(path)["embedding"].to_pylist(), np.float32)


@pytest.mark.parametrize("suffix", [".jsonl", ".csv", ".parquet"])
@pytest.mark.parametrize("out", [".npy", ".jsonl", ".parquet"])
def test_every_input_into_every_output(
    upsize: Command, tmp_path: Path, embedder_folder: Path, expected: np.ndarray, suffix: str, out: str
) -> None:
    output = tmp_path / f"out{out}"
    ids = [] if out == ".npy" else ["--id-field", "id"]
    source = write(tmp_path / f"rows{suffix}")
    ran = upsize("embed", source, "-o", output, "-m", embedder_folder, "--text-field", "text", *ids)
    assert ran.code == 0, ran.err
    np.testing.assert_allclose(vectors(output), expected, atol=1e-5)
    assert not (tmp_path / f"out{out}.partial").exists()
    facts = json.loads((tmp_path / f"out{out}.json").read_text())
    assert (facts["rows"], facts["skipped"], facts["truncated"]) == (3, [], [])
    assert facts["fingerprint"]["id"] in ran.out
    assert f"{output.stat().st_size:,} bytes" in ran.out
    if out == ".jsonl":
        rows = [json.loads(line) for line in output.read_text().splitlines()]
        assert [row["id"] for row in rows] == ["a", "b", "c"]
        assert {row["fingerprint"] for row in rows} == {facts["fingerprint"]["id"]}
    if out == ".parquet":
        table = pq.read_table(output)
        assert table["id"].to_pylist() == ["a", "b", "c"]
        assert json.loads(table.schema.metadata[b"upsize"])["fingerprint"] == facts["fingerprint"]


def test_lines_of_csv_are_those_where_records_begin(upsize: Command, tmp_path: Path, embedder_folder: Path) -> None:
    output = tmp_path / "out.jsonl"
    upsize("embed", write(tmp_path / "rows.csv"), "-o", output, "-m", embedder_folder)
    assert [json.loads(line)["line"] for line in output.read_text().splitlines()] == [2, 3, 5]


def test_whole_ids_stay_numbers_in_parquet(upsize: Command, tmp_path: Path, embedder_folder: Path) -> None:
    for rows, kind, ids in (
        ([{"id": 7, "text": "x"}, {"id": 8, "text": "y"}], pa.int64(), [7, 8]),
        ([{"id": 7, "text": "x"}, {"id": "b", "text": "y"}], pa.string(), ["7", "b"]),
    ):
        output = tmp_path / "out.parquet"
        source = write(tmp_path / "rows.jsonl", rows)
        upsize("embed", source, "-o", output, "-m", embedder_folder, "--id-field", "id", "--overwrite")
        table = pq.read_table(output)
        assert (table.schema.field("id").type, table["id"].to_pylist()) == (kind, ids)


@pytest.mark.parametrize(
    ("options", "call"),
    [
        (["--query"], lambda e, t: e.encode_query(t)),
        (["--instruction", "Sort"], lambda e, t: e.encode_query(t, instruction="Sort")),
        (["--dim", "32"], lambda e, t: e.encode_document(t, dim=32)),
        (["--dtype", "bfloat16"], lambda e, t: e.encode_document(t)),
    ],
)
def test_options_reach_the_model(
    upsize: Command,
    tmp_path: Path,
    embedder_folder: Path,
    options: list[str],
    call: Callable[[Embedder, list[str]], np.ndarray],
) -> None:
    output = tmp_path / "out.npy"
    ran = upsize("embed", "-", "-o", output, "-m", embedder_folder, *options, stdin=b"one\r\ntwo")
    assert ran.code == 0, ran.err
    with Embedder(str(embedder_folder), dtype="bfloat16" if "--dtype" in options else "auto") as embedder:
        expected = call(embedder, ["one", "two"])
    np.testing.assert_allclose(np.load(output), expected, atol=1e-5)


def test_demo_model_is_the_default_and_said(upsize: Command, tmp_path: Path) -> None:
    ran = upsize("embed", "-", "-o", tmp_path / "out.npy", stdin=b"one\n")
    assert "No --model: using demo-m" in ran.err
    assert ran.code == 0


BAD = (
    b'{"text": "good"}\n{"text": ""}\n{"other": "x"}\n{"text": 5}\n{"text": "cut\n\n["a list"]\n'
    b'{"text": "\xff"}\n{"text": ["a"]}\n{"text": "good too"}\n'
)
FAULTS = {
    2: "an empty text",
    3: "no 'text'",
    4: "'text' is 5, not a text",
    5: "broken JSON (",
    6: "an empty line",
    7: "a JSON array, not an object",
    8: "not UTF-8 (byte 0xff at position 11)",
    9: "'text' is a list, not a text",
}


def test_bad_rows_are_listed_before_anything_is_computed(
    upsize: Command, tmp_path: Path, embedder_folder: Path
) -> None:
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.npy"
    source.write_bytes(BAD)
    ran = upsize("embed", source, "-o", output, "-m", embedder_folder)
    assert ran.code == 1
    assert f"{source}: 8 of 10 rows cannot be used" in ran.err
    for line, fault in FAULTS.items():
        assert f"line {line}: {fault}" in ran.err
    assert [p.name for p in tmp_path.iterdir()] == ["rows.jsonl"]


def test_skipped_rows_are_told_and_kept_in_the_sidecar(upsize: Command, tmp_path: Path, embedder_folder: Path) -> None:
    source, output = tmp_path / "rows.jsonl", tmp_path / "out.npy"
    source.write_bytes(BAD)
    ran = upsize("embed", source, "-o", output, "-m", embedder_folder, "--skip-bad")
    assert ran.code == 0
    assert "8 rows skipped" in ran.out
    assert "line 2: an empty text" in ran.out
    assert np.load(output).shape == (2, 64)
    skipped = json.loads((tmp_path / "out.npy.json").read_text())["skipped"]
    assert [row["line"] for row in skipped] == list(FAULTS)
    assert all(row["reason"].startswith(FAULTS[row["line"]]) for row in skipped)


def test_bad_csv_and_parquet_rows(upsize: Command, tmp_path: Path, embedder_folder: Path) -> None:
    source, output = tmp_path / "rows.csv", tmp_path / "out.npy"
    source.write_bytes(b'text,n\ngood,1\nshort\n"a"b,2\n\xfe\xff,3\n,4\n\n')
    ran = upsize("embed", source, "-o", output, "-m", embedder_folder)
    for line, fault in {
        3: "1 fields where the header has 2",
        4: "broken CSV (",
        5: "not UTF-8",
        6: "an empty text",
    }.items():
        assert f"line {line}: {fault}" in ran.err
    assert "line 7: an empty line" in ran.err
    write(tmp_path / "rows.parquet", [{"text": "good"}, {"text": None}])
    ran = upsize("embed", tmp_path / "rows.parquet", "-o", output, "-m", embedder_folder)
    assert "row 2: no 'text'" in ran.err


def test_a_text_that_is_too_long_is_named_cut_or_left_out(
    upsize: Command, tmp_path: Path, embedder_folder: Path
) -> None:
    output, arguments = tmp_path / "out.npy", ["-m", embedder_folder, "--max-length", "16"]
    source = tmp_path / "docs.txt"
    source.write_text(f"short\n{'long ' * 40}\n")
    ran = upsize("embed", source, "-o", output, *arguments)
    assert ran.code == 1
    assert f"{source}: 1 of 2 rows cannot be used (--truncate cuts long texts)" in ran.err
    assert "tokens, and at most 16 are taken" in ran.err
    ran = upsize("embed", source, "-o", output, *arguments, "--truncate")
    lost = json.loads((tmp_path / "out.npy.json").read_text())["truncated"]
    assert [row["line"] for row in lost] == [2]
    assert f"1 rows lost {lost[0]['lost_tokens']:,} tokens to --truncate" in ran.out
    ran = upsize("embed", source, "-o", output, *arguments, "--skip-bad", "--overwrite")
    assert np.load(output).shape == (1, 64)


def test_the_text_field_is_found_or_asked_for(upsize: Command, tmp_path: Path, embedder_folder: Path) -> None:
    output = tmp_path / "out.npy"
    one = write(tmp_path / "one.jsonl", [{"body": "x", "n": 1}])
    assert upsize("embed", one, "-o", output, "-m", embedder_folder).code == 0
    two = write(tmp_path / "two.jsonl", [{"title": "x", "body": "y"}])
    ran = upsize("embed", two, "-o", tmp_path / "2.npy", "-m", embedder_folder)
    assert "2 fields hold text and none is called 'text'. Say which with --text-field. Fields: title, body." in ran.err
    ran = upsize("embed", write(tmp_path / "r.csv"), "-o", tmp_path / "3.npy", "--text-field", "txt")
    assert "has no field 'txt'. Fields: id, text, n." in ran.err
    ran = upsize("embed", write(tmp_path / "r.parquet"), "-o", tmp_path / "3.npy", "--text-field", "n")
    assert "the field 'n' does not hold text" in ran.err


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["missing.txt", "-o", "out.npy"], 1, "missing.txt: no such file."),
        (["docs.txt", "-o", "out.bin"], 2, "the suffix chooses the format, one of .npy, .jsonl, .parquet"),
        (["docs.txt", "-o", "nowhere/out.npy"], 1, "there is no folder nowhere"),
        (["docs.txt", "-o", "docs.npy", "--id-field", "id"], 2, "a .npy file cannot hold ids"),
        (["docs.txt", "-o", "o.jsonl", "--id-field", "id"], 1, "is read as plain text, which has no fields"),
        (["docs.txt", "-o", "out.npy", "--document", "--instruction", "Sort"], 2, "documents take no instruction"),
        (["docs.txt", "-o", "out.npy", "--dimm", "3"], 2, "No such option: --dimm"),
        (["docs.txt", "-o", "out.npy", "--dim", "3"], 1, "dimensions is 3; this model gives any whole number from 32"),
        (["docs.txt", "-o", "out.npy", "-m", "nobody"], 1, "nobody: expected a model folder"),
        (["docs.txt", "-o", "out.npy", "--device", "tpu"], 1, "--device 'tpu': use auto, cpu"),
        (["docs.txt", "-o", "out.npy", "--hub", "gitlab"], 2, "'gitlab' is not one of 'huggingface', 'modelscope'"),
        (["docs.md", "-o", "out.npy"], 1, "the suffix '.md' is of no known format"),
        (["docs.txt"], 2, "Missing option '--output'"),
        (["empty.txt", "-o", "out.npy"], 1, "empty.txt: no rows."),
        (["-", "-o", "out.npy"], 1, "Standard input looks like JSONL: say --format jsonl"),
        (["broken.parquet", "-o", "out.npy"], 1, "broken.parquet: not a readable Parquet file"),
    ],
)
def test_mistakes(
    upsize: Command,
    tmp_path: Path,
    texts: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in (("docs.md", "x"), ("empty.txt", ""), ("broken.parquet", "PAR1?")):
        (tmp_path / name).write_text(content)
    before = sorted(tmp_path.iterdir())
    ran = upsize("embed", *arguments, stdin=b'{"text": "x"}\n')
    assert (ran.code, message in ran.err) == (code, True), ran.err
    assert sorted(tmp_path.iterdir()) == before


def test_a_reranker_is_refused(upsize: Command, tmp_path: Path, texts: Path, reranker_folder: Path) -> None:
    ran = upsize("embed", texts, "-o", tmp_path / "out.npy", "-m", reranker_folder)
    assert ran.code == 1
    assert f"{reranker_folder}: expected an embedder; found a reranker (" in ran.err
    assert "upsize rerank" in ran.err


def test_parquet_without_pyarrow(upsize: Command, tmp_path: Path, texts: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    ran = upsize("embed", texts, "-o", tmp_path / "out.parquet")
    assert "Writing Parquet needs the package 'pyarrow': pip install 'upsize[data]'." in ran.err
    (tmp_path / "in.parquet").write_bytes(b"PAR1")
    ran = upsize("embed", tmp_path / "in.parquet", "-o", tmp_path / "out.npy")
    assert "Reading Parquet needs the package 'pyarrow'" in ran.err
