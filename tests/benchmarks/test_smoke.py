"""Every benchmark runs, at its smallest, and writes the figures that the documents quote."""

from __future__ import annotations

import json
from pathlib import Path

from benchmarks import calibration, large_corpus, long_text, mixed_load


def test_long_text(tmp_path: Path) -> None:
    result = json.loads(long_text.measure("demo-s", 700, "auto", tmp_path).read_text())
    assert result["tokens"] == 700
    assert result["seconds"] > 0
    assert result["peak_gb"] > result["weights_gb"]
    assert result["machine"]["cores"] >= 1


def test_mixed_load(tmp_path: Path) -> None:
    result = json.loads(mixed_load.measure("demo-s", 1, 500, 3, 0.5, tmp_path).read_text())
    assert result["errors"] == []
    assert result["server_exit_code"] == 0
    assert result["documents"][0]["tokens"] > 100
    assert result["short_queries_beside_documents"]["n"] > 0


def test_large_corpus(tmp_path: Path) -> None:
    result = json.loads(large_corpus.measure(2_000, 20, 64, tmp_path).read_text())
    assert result["said"] == ["Read as retrieval: 20 queries, 2,000 documents, 20 relevant pairs from qrels/test.tsv."]
    assert result["peak_gb"] > 0


def test_calibration() -> None:
    result = calibration.measure(20, (20,), (30,))
    assert set(result["coverage"]) == {f"{name}, 20 queries" for name in calibration.SCENARIOS}
    assert calibration.table(result).count("\n| normal") == 1 + len(calibration.GAINS)
