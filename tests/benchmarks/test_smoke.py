"""Every benchmark runs, at its smallest, and writes the figures that the documents quote."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks import (
    accuracy,
    ann,
    calibration,
    cpu,
    crashes,
    estimates,
    growth,
    index_move,
    ladder,
    large_corpus,
    long_text,
    mixed_load,
    overload,
    request_costs,
    server,
)
from benchmarks.datasets import write_beir
from benchmarks.multilingual import Sentence
from benchmarks.peers import peers_of
from benchmarks.texts import sentences
from upsize import demo
from upsize.catalog import FAMILY
from upsize.model import open_checkpoint


def test_long_text(tmp_path: Path) -> None:
    result = json.loads(long_text.measure("demo-s", 700, "auto", tmp_path).read_text())
    assert result["tokens"] == 700
    assert result["seconds"] > 0
    assert result["peak_gb"] > result["weights_gb"]
    assert result["machine"]["cores"] >= 1


PEER = """
import sys
import time
import common
def load(folder):
    def embed(batch):
        if len(batch[0]) > LONGEST:
            sys.exit("too long a text")
        time.sleep(0.001)
        return [[float(len(ids))] for ids in batch]
    return embed
common.main("NAME", "float32", load, batch_sizes=(1, 4))
"""


@pytest.fixture
def peers(tmp_path: Path) -> dict[str, Path]:
    """Two peers, one of which takes no long text, and a script whose peer is not installed."""
    scripts, python = tmp_path / "scripts", tmp_path / "peers" / "a" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.symlink_to(sys.executable)
    scripts.mkdir()
    (scripts / "common.py").write_text("def main(*_): raise AssertionError('the whole workload')")
    (scripts / "a_fine.py").write_text(PEER.replace("LONGEST", "1000").replace("NAME", "fine"))
    (scripts / "a_short.py").write_text(PEER.replace("LONGEST", "100").replace("NAME", "short"))
    (scripts / "b_absent.py").write_text(PEER)
    return {"peers": tmp_path / "peers", "scripts": scripts}


def test_long_text_beside_peers(tmp_path: Path, peers: dict[str, Path]) -> None:
    fine, short = json.loads(long_text.measure("demo-s", 700, "int8", tmp_path, **peers).read_text())["peers"]
    assert (fine["peer"], fine["precision"]) == ("fine", "float32")
    assert 0.001 < fine["seconds"] < 1
    assert fine["peak_gb"] > 0
    assert short == {"peer": "short", "precision": "float32", "failed": "too long a text"}


def test_mixed_load(tmp_path: Path) -> None:
    result = json.loads(mixed_load.measure("demo-xs", 1, 500, 3, 0.2, tmp_path).read_text())
    assert result["errors"] == []
    assert result["server_exit_code"] == 0
    assert result["documents"][0]["tokens"] > 100
    assert result["short_queries_beside_documents"]["n"] > 0


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Options of `cpu.measure` with which it takes little time."""
    monkeypatch.setattr(cpu, "SHAPES", ((64, 64, 64),))
    monkeypatch.setattr(cpu, "RESTARTS", 1)
    return {"documents": 2, "dtypes": ["auto"], "threads": 1, "rounds": 2, "seconds": 0.001}


def test_request_costs(tmp_path: Path) -> None:
    kinds = ("unknown fields", "one text, refused", "a query before 2,000 documents of one character")
    found = json.loads(request_costs.measure(kinds, 1, tmp_path).read_text())
    assert found["server_exit_code"] == 0
    for kind in kinds:
        (cost,) = found["kinds"][kind]
        assert cost["status"] == 400
        assert cost["memory_mb"] < 100
        assert cost["health_max_ms"] > 0


def test_overload(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(overload, "SENTENCES", 6)
    found = json.loads(overload.measure("demo-xs", (5.0,), 1.5, 0.5, 0.5, tmp_path).read_text())
    assert found["server_exit_code"] == 0
    load = found["loads"]["5"]
    assert load["short"]["due"] > 5
    assert load["short"]["answered_s"]["p95"] > 0
    assert set(load["batch"]["attempts_by_status"]) <= {"200", "429"}
    assert load["sender_late_s"]["p50"] < 1


def test_cpu(tmp_path: Path, quick: dict[str, Any], peers: dict[str, Path]) -> None:
    result = json.loads(cpu.measure("demo-xs", folder=tmp_path, **quick, **peers).read_text())
    figures = result["ours"]["auto"]
    assert result["limit"]["bfloat16"] > 0
    assert figures["queries"]["texts"] == 64
    assert figures["passages"]["of_limit"] > 0
    assert figures["one_query"]["tokens"] == cpu.QUERY
    assert figures["one_query"]["texts"] == 2 * cpu.CALLS
    assert figures["restart"]["first_vector_s"] > 0
    assert "keeping_prefixes" not in result
    *told, failed = result["peers"]
    assert [line["workload"] for line in told] == ["queries", "passages", "one_query", "pairs"]
    assert told[0]["batch_size"] == 4
    assert failed == {"peer": "short", "precision": "float32", "failed": "too long a text"}


VLLM = """
import os

class LLM:
    def __init__(self, dtype, **given):
        assert dtype == os.environ["PRECISION"]
        self.name, self.seen = str(sorted(given)), 0
    def reset_prefix_cache(self): self.seen = 0
    def embed(self, batch):
        self.seen += 1
        assert self.seen == 1, "what was seen before is kept"
"""
VLLM_SCRIPT = """
import vllm
from common import main

made = vllm.LLM()
main(made.name, "int4", lambda folder: made.embed, batch_sizes=(64,))
"""


@pytest.fixture
def vllm(peers: dict[str, Path]) -> dict[str, Path]:
    """In place of the two peers one that can keep prefixes."""
    (peers["peers"] / "a").rename(peers["peers"] / "vllm")
    for script in peers["scripts"].glob("a_*.py"):
        script.unlink()
    (peers["scripts"] / "vllm.py").write_text(VLLM)
    (peers["scripts"] / "vllm_fake.py").write_text(VLLM_SCRIPT)
    return peers


def test_vllm_keeps_prefixes_within_a_run(vllm: dict[str, Path]) -> None:
    (plain,) = peers_of(**vllm, model="demo-xs", longest=9)
    (keeping,) = peers_of(**vllm, model="demo-xs", longest=9, prefixes=True)
    with keeping:
        assert keeping.label["peer"] == "['block_size', 'enable_prefix_caching']"
        assert keeping.label["precision"] in ("bfloat16", "float32")
        for _ in range(2):
            assert keeping.run([np.arange(9)], 1)["seconds"] >= 0
    with plain:
        assert plain.label["peer"] == "[]"


def test_pairs_beside_who_keeps_prefixes(
    tmp_path: Path, quick: dict[str, Any], vllm: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cpu, "_restart", lambda *_: {})  # `test_cpu` restarts servers
    result = json.loads(cpu.measure("demo-xs", folder=tmp_path, **quick, **vllm).read_text())
    assert {line["peer"] for line in result["peers"]} == {"[]"}
    (line,) = result["keeping_prefixes"]["peers"]
    assert (line["workload"], line["texts"], line["prefixes"]) == ("pairs", 2, "kept")
    (ours,) = result["keeping_prefixes"]["ours"].values()
    assert ours["pairs"]["tokens"] == line["tokens"]


def test_estimates(tmp_path: Path) -> None:
    folder = demo.folder("demo-xs")
    config = open_checkpoint(folder).config
    member = replace(FAMILY[0], hidden_size=config.hidden_size, layers=config.layers)
    result = json.loads(estimates.measure([str(folder)], ["bfloat16"], 0.01, tmp_path, [member]).read_text())
    row = result["rows"][0]
    for figure in ("memory_gb", "tokens_per_second", "query_ms"):
        assert row["estimated"][figure] > 0
        assert row["measured"][figure] > 0


def test_accuracy(tmp_path: Path) -> None:
    result = json.loads(accuracy.measure(["demo-s"], texts=6, folder=tmp_path).read_text())
    figures = result["models"]["demo-s"]
    assert figures["n"] == {"queries": 6, "passages": 6}
    for dtype in ("int8", "bfloat16"):
        assert 0.9 < figures[dtype]["queries"]["worst"] <= figures[dtype]["queries"]["mean"] <= 1


def test_large_corpus(tmp_path: Path) -> None:
    result = json.loads(large_corpus.measure(2_000, 20, 64, tmp_path).read_text())
    assert result["said"] == ["Read as retrieval: 20 queries, 2,000 documents, 20 relevant pairs from qrels/test.tsv."]
    assert result["peak_gb"] > 0


def test_calibration() -> None:
    result = calibration.measure(8, (20,), (30,))
    assert set(result["coverage"]) == {f"{name}, 20 queries" for name in calibration.SCENARIOS}
    # A row of coverage, one of each verdict, one of each candidate's own quality.
    assert calibration.table(result).count("\n| normal") == 2 + len(calibration.GAINS)


def test_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "BATCH", 2)
    monkeypatch.setattr(server, "_in_a_process", lambda function, *given: function(*given))  # starts are slow
    result = json.loads(server.batches("demo-xs", "auto", clients=2, calls=1, folder=tmp_path).read_text())
    assert result["errors"] == []
    assert result["of_engine"] > 0
    result = json.loads(server.short("demo-xs", "auto", clients=2, calls=5, folder=tmp_path).read_text())
    assert result["errors"] == []
    assert result["cpu_ms_a_request"] > 0


def test_crashes() -> None:
    """Few kills here, a hundred in the result that the page quotes."""
    result = crashes.run(3, seed=5)
    assert result["faults"] == []
    assert sum(result["killed_in"].values()) == 3


def test_index_move(tmp_path: Path) -> None:
    texts = [Sentence(f"s{i}", text, "mixed", "none") for i, text in enumerate(sentences(0, 120))]
    path = index_move.measure(texts, sentences(1, 20), "demo-xs", "demo-s", 0.15, tmp_path)
    result = json.loads(path.read_text())
    assert (result["failed"], result["written_and_wrong_at_the_end"], result["deleted_and_there_at_the_end"]) == (
        0,
        0,
        0,
    )
    assert result["documents_at_the_end"] == result["vectors_at_the_end"] >= 115
    assert result["server_exit_code"] == 0


def test_ladder(tmp_path: Path) -> None:
    texts = sentences(0, 24)
    documents = [{"_id": f"d{i}", "text": f"{text} {i}"} for i, text in enumerate(texts)]
    queries = [{"_id": f"q{i}", "text": texts[i]} for i in range(5)]
    write_beir(tmp_path / "small", documents, queries, [(f"q{i}", f"d{i}", 1) for i in range(5)])
    result = json.loads(
        ladder.measure(
            tmp_path, ["small"], "demo-xs", "demo-s", folder=tmp_path, picture=tmp_path / "p.svg"
        ).read_text()
    )
    ways = result["datasets"]["small"]["ways"]
    assert [way["name"] for way in ways] == ["L0", "L1, 20", "L1, 50", "L2, 20", "L2, 50", "L2, 100", "L2, 200", "L3"]
    assert (tmp_path / "p.svg").read_text().startswith("<?xml")


def test_growth_and_approximate_search(tmp_path: Path) -> None:
    result = json.loads(growth.measure(1000, folder=tmp_path).read_text())
    assert [size["documents"] for size in result["sizes"]] == [1000]
    vectors = ann.grown(np.eye(96, dtype=np.float32), 700)
    found = json.loads(ann.measure(vectors, vectors[:5], [600], "none", tmp_path).read_text())["sizes"][0]
    assert found["approximate"]["recall"] > 0.5
    assert found["funnel"]["candidates"]["200"]["recall"] > 0.5
