"""`upsize index` and `upsize evolve`: in a process of their own, and through a service that runs."""

from __future__ import annotations

import json
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from tests.index.conftest import QUERIES, TEXTS
from tests.server.live import live
from upsize import demo
from upsize.cli.app import app
from upsize.errors import InvalidInput, UpsizeError
from upsize.io import open_source
from upsize.jobs.document_rows import DocumentRows, FileDocument
from upsize.jobs.vector_columns import document_error
from upsize.server.discovery import announced, running_service

Run = Callable[..., str]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("UPSIZE_INDEXES", str(tmp_path / "indexes"))
    return tmp_path / "indexes"


@pytest.fixture
def run(home: Path) -> Run:
    def command(*arguments: str, code: int = 0) -> str:
        result = CliRunner().invoke(app, arguments)
        if result.exception and not isinstance(result.exception, SystemExit):
            raise result.exception
        assert result.exit_code == code, result.output
        return result.stdout

    assert not home.exists()
    return command


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    path = tmp_path / "corpus.jsonl"
    rows = [{"_id": id, "title": id.title(), "text": text, "n": i} for i, (id, text) in enumerate(TEXTS.items())]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def labelled(tmp_path: Path) -> Path:
    path = tmp_path / "labelled.jsonl"
    rows = [{"query": query, "positive": f"{id.title()} {TEXTS[id]}"} for query, id in QUERIES.items()]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_the_whole_road(run: Run, corpus: Path, labelled: Path) -> None:
    assert "demo-xs, 64 dimensions, lancedb" in run("index", "create", "docs", "-m", "demo-xs")
    assert run("index", "add", "docs", str(corpus)) == "6 added, 0 updated, 0 unchanged\n"
    assert run("index", "add", "docs", str(corpus)) == "0 added, 0 updated, 6 unchanged\n"
    found = json.loads(run("index", "search", "docs", "recipe for onion soup", "-k", "2", "--json"))
    assert found["results"][0]["id"] == "soup"
    assert found["results"][0]["text"] == f"Soup {TEXTS['soup']}"
    assert found["results"][0]["metadata"] == {"title": "Soup", "n": 1}
    assert "soup" in run("index", "search", "docs", "soup", "--filter", '{"n": {"lte": 1}}', "--explain")
    assert run("index", "delete", "docs", "rain", "nobody") == "1 deleted\n"
    plan = json.loads(run("evolve", "plan", "docs", "--to", "demo-s", "--price", "2", "--json"))
    assert plan["documents"] == 5
    assert "backfill, ready to switch" in run("evolve", "start", "docs", "--to", "demo-s")
    assert "nDCG@10" in run("evolve", "compare", "docs", str(labelled))
    assert "switched" in run("evolve", "switch", "docs")
    assert "rolled back" in run("evolve", "rollback", "docs")
    assert json.loads(run("evolve", "switch", "docs", "--json"))["active"] == "g2"
    assert "demo-s (g2)" in run("evolve", "status", "docs")
    assert "g1 was dropped; the move is over, and g2 answers" in run("evolve", "finish", "docs")
    assert "g2 answers" in run("index", "status")
    run("index", "drop", "docs", "--yes")
    assert "No index yet" in run("index", "status")


def test_the_ladder_from_the_command_line(run: Run, corpus: Path, labelled: Path) -> None:
    run("index", "create", "docs", "-m", "demo-xs", "--coarse", "32")
    run("index", "add", "docs", str(corpus))
    told = run("index", "ladder", "docs", "--rerank", "demo-rerank", "--depth", "4")
    assert "L1 rerank: demo-rerank, the first 4" in told
    assert "funnel: 5" in run("index", "ladder", "docs", "--rescore", "demo-s", "--funnel", "5")
    table = run("index", "ladder", "docs", "--measure", str(labelled), "--depths", "2,3")
    assert all(way in table for way in ("L0", "L1 demo-rerank, 3", "L2 demo-s, 2"))
    told = run("index", "ladder", "docs", "--rerank", "none", "--rescore", "none", "--funnel", "0")
    assert told == "L1 rerank: none\nL2 rescore: none\nfunnel: none\n"


def test_times_and_decimals_of_parquet_become_metadata_and_bytes_are_refused(tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = {
        "id": ["a"],
        "text": ["soup"],
        "made": pa.array([1_715_000_000_123_456_789], pa.timestamp("ns", "UTC")),
        "day": pa.array([19_849], pa.date32()),
        "price": pa.array([Decimal("1.10")], pa.decimal128(9, 2)),
    }
    pq.write_table(pa.table(columns), tmp_path / "d.parquet")
    (row,) = DocumentRows(open_source(tmp_path / "d.parquet", "d.parquet"), "text", "id")
    told = {"made": "2024-05-06T12:53:20.123456789+00:00", "day": "2024-05-06", "price": "1.10"}
    assert row.value == FileDocument("a", "soup", told)
    assert document_error(row.value) is None
    pq.write_table(pa.table({"text": ["x"], "thumb": [b"\xff\xd8"]}), tmp_path / "bytes.parquet")
    (row,) = DocumentRows(open_source(tmp_path / "bytes.parquet", "bytes.parquet"), "text")
    assert row.value is not None
    assert str(document_error(row.value)).startswith("metadata.thumb is of the type bytes")


def test_a_file_without_ids_is_called_by_its_texts(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "lines.txt"
    path.write_text("one line\nanother line\none line\n")
    run("index", "create", "docs", "-m", "demo-xs")
    assert run("index", "add", "docs", str(path)) == "2 added, 0 updated, 1 unchanged\n"
    assert run("index", "add", "docs", str(path)) == "0 added, 0 updated, 3 unchanged\n"


def test_an_id_that_comes_twice_is_written_in_order(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "twice.csv"
    path.write_text("id,text\na,the first\nb,other\na,the second\n")
    run("index", "create", "docs", "-m", "demo-xs")
    assert run("index", "add", "docs", str(path)) == "2 added, 1 updated, 0 unchanged\n"
    found = json.loads(run("index", "search", "docs", "first or second", "--json"))
    assert {r["text"] for r in found["results"]} == {"the second", "other"}


def test_bad_rows_are_listed_and_nothing_is_written(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    path.write_text('{"id": 1, "text": "fine"}\n{"id": 2, "text": ""}\n{"text": "no id"}\nnot json\n')
    run("index", "create", "docs", "-m", "demo-xs")
    with pytest.raises(InvalidInput) as caught:
        run("index", "add", "docs", str(path))
    assert all(
        told in str(caught.value) for told in ("3 of 4 rows", "line 2: an empty text", "line 3: no 'id'", "line 4")
    )
    assert run("index", "add", "docs", str(path), "--skip-bad") == "1 added, 0 updated, 0 unchanged\n"


def test_mistakes_are_told_in_the_services_words(run: Run) -> None:
    run("index", "create", "docs", "-m", "demo-xs")
    for arguments, told in (
        (("index", "create", "docs", "-m", "demo-xs"), "There is an index 'docs'"),
        (("index", "create", "9", "-m", "demo-xs"), "cannot name an index"),
        (("index", "search", "nope", "x"), "No index 'nope'"),
        (("index", "search", "docs", "x", "--filter", "{"), "--filter is not JSON"),
        (("evolve", "switch", "docs"), "is not on a move"),
        (("evolve", "start", "docs", "--to", "no-such-model"), "no-such-model"),
        (("index", "status", "--base-url", "http://127.0.0.1:9"), "does not answer"),
        (("index", "status", "--base-url", "127.0.0.1:9"), "http:// or https:// in front"),
        (("index", "status", "--base-url", "http://h:abc"), "Invalid port"),
        (("index", "ladder", "docs", "--depths", "20,x"), "give numbers"),
        (("evolve", "start", "docs"), "no backfill to resume"),
    ):
        with pytest.raises(UpsizeError, match=told):
            run(*arguments)


def test_commands_find_the_service_that_runs(run: Run, home: Path, corpus: Path) -> None:
    models: dict[str, Path | str] = {"demo-xs": demo.folder("demo-xs")}
    with live(models) as client, announced(home, str(client.base_url)):
        assert running_service(home) == str(client.base_url)
        run("index", "create", "docs", "-m", "demo-xs")
        run("index", "add", "docs", str(corpus))
        reply: Any = client.post("/v1/indexes/docs/search", json={"query": "recipe for onion soup"}).json()
        assert reply["results"][0]["id"] == "soup"
        assert "ready to switch" in run("evolve", "start", "docs", "--to", "demo-s", "--wait")
        told = json.loads(run("index", "status", "--json", "--base-url", f"{client.base_url}/v1"))
        assert told["indexes"][0]["name"] == "docs"
        assert "shadow 0.05, canary 0.2" in run("evolve", "tune", "docs", "--canary", "0.2")
        assert "paused" in run("evolve", "pause", "docs")
        assert "ready to switch" in run("evolve", "start", "docs")
        assert "g1 is being made anew" in run("index", "rebuild", "docs")
    assert running_service(home) is None
    assert "ready to switch" in run("evolve", "status", "docs")


def test_a_key_is_asked_for_and_given(run: Run, home: Path) -> None:
    models: dict[str, Path | str] = {"demo-xs": demo.folder("demo-xs")}
    with live(models, keys=["secret"]) as client, announced(home, str(client.base_url)):
        with pytest.raises(UpsizeError, match="UPSIZE_API_KEY"):
            run("index", "status")
        assert "No index yet" in run("index", "status", "--api-key", "secret")


def test_a_plan_that_will_not_fit_is_exit_code_1(run: Run, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run("index", "create", "docs", "-m", "demo-xs")
    run("index", "add", "docs", str(corpus))
    with monkeypatch.context() as patch:
        patch.setattr("upsize.migration.plan.COMPACTING", 1 << 60)
        run("evolve", "plan", "docs", "--to", "demo-s", code=1)
        with pytest.raises(UpsizeError, match="will not fit"):
            run("evolve", "start", "docs", "--to", "demo-s")
        assert "backfill" in run("evolve", "start", "docs", "--to", "demo-s", "--force")
    assert "g2 was dropped" in run("evolve", "finish", "docs", "--force")


def test_values_that_json_has_no_place_for_are_told(run: Run, tmp_path: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.table({"id": ["a"], "text": ["x"], "score": [float("nan")]}), tmp_path / "nan.parquet")
    run("index", "create", "docs", "-m", "demo-xs")
    with pytest.raises(UpsizeError, match="leave out NaN"):
        run("index", "add", "docs", str(tmp_path / "nan.parquet"))


def test_columns_of_vectors_are_left_out_and_named(run: Run, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "export.jsonl"
    rows = [{"id": str(i), "text": f"text {i}", "lang": "en", "embedding": [i / 10] * 8} for i in range(3)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    run("index", "create", "docs", "-m", "demo-xs")
    result = CliRunner().invoke(app, ["index", "add", "docs", str(path)])
    assert result.exit_code == 0
    told = result.stderr + capfd.readouterr().err
    assert "'embedding' (8 numbers)" in told
    assert "Vectors of two models cannot be compared" in told
    assert "embeds every text with" in told
    assert "--keep embedding" in told
    found = json.loads(run("index", "search", "docs", "text 1", "--json"))["results"]
    assert [r["metadata"] for r in found] == [{"lang": "en"}] * 3
    assert run("index", "add", "docs", str(path), "--keep", "embedding") == "0 added, 3 updated, 0 unchanged\n"
    found = json.loads(run("index", "search", "docs", "text 1", "-k", "1", "--json"))["results"]
    assert len(found[0]["metadata"]["embedding"]) == 8


def test_rows_whose_metadata_an_index_cannot_keep_are_listed(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    deep = "[" * 260 + "]" * 260
    path.write_text(
        '{"id": "a", "text": "fine"}\n'
        f'{{"id": "b", "text": "deep", "m": {deep}}}\n'
        '{"id": "c\\n", "text": "an id of two lines"}\n'
        f'{{"id": "d", "text": "long", "m": "{"x" * 70_000}"}}\n'
    )
    run("index", "create", "docs", "-m", "demo-xs")
    with pytest.raises(InvalidInput) as caught:
        run("index", "add", "docs", str(path))
    told = str(caught.value)
    assert all(part in told for part in ("3 of 4 rows", "line 2: metadata.m", "nested deeper", "line 3: id", "line 4"))
    assert run("index", "add", "docs", str(path), "--skip-bad") == "1 added, 0 updated, 0 unchanged\n"


def test_a_text_that_the_model_cannot_take_is_left_out_where_that_is_asked(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "long.jsonl"
    texts = {"a": "short", "b": "word " * 60, "c": "short too", "d": "word " * 70}
    path.write_text("".join(json.dumps({"id": id, "text": text}) + "\n" for id, text in texts.items()))
    run("index", "create", "docs", "-m", "demo-xs", "--max-length", "40")
    with pytest.raises(UpsizeError, match="Its id is 'b'"):
        run("index", "add", "docs", str(path))
    assert run("index", "add", "docs", str(path), "--skip-bad") == "2 added, 0 updated, 0 unchanged\n"


def test_a_backup_and_a_restore_from_the_command_line(run: Run, corpus: Path, tmp_path: Path) -> None:
    run("index", "create", "docs", "-m", "demo-xs")
    run("index", "add", "docs", str(corpus))
    assert "6 journal entries, 6 vectors of g1" in run(
        "index", "backup", "docs", str(tmp_path / "whole"), "--with-vectors"
    )
    assert "no vectors" in run("index", "backup", "docs", str(tmp_path / "texts"))
    run("index", "drop", "docs", "--yes")
    run("index", "restore", str(tmp_path / "whole"))
    reply = json.loads(run("index", "search", "docs", "recipe for onion soup", "--json"))
    assert reply["results"][0]["id"] == "soup"
    assert "incomplete" not in reply
    run("index", "restore", str(tmp_path / "texts"), "--name", "bare")
    result = CliRunner().invoke(app, ["index", "search", "bare", "recipe for onion soup"])
    assert "Searches do not find 6 documents that are still to be embedded" in result.stderr
    reply = json.loads(run("index", "search", "bare", "recipe for onion soup", "--json"))
    assert (reply["results"], reply["incomplete"]["missing"]) == ([], 6)
    assert "g1 is made anew" in run("index", "rebuild", "bare")
    assert "incomplete" not in json.loads(run("index", "search", "bare", "soup", "--json"))
