"""`upsize verify` as its user sees it."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkpoints import Layout
from tests.cli.conftest import Ran
from upsize.diagnostics import sample_texts as texts

Upsize = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _fewer_texts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "parity_texts", lambda tokenizer: texts.SHORT[:4])
    monkeypatch.setattr(texts, "DIFFICULT_TEXTS", {"import": "import"})


def test_a_good_checkpoint_is_verified_and_the_report_is_written(
    upsize: Upsize, embedder_folder: Path, tmp_path: Path
) -> None:
    ran = upsize("verify", embedder_folder, "--batches", 2, "--json", tmp_path / "report.json")
    assert ran.code == 0, ran
    assert "verified" in ran.out
    assert "batch invariance" in ran.out
    report = json.loads((tmp_path / "report.json").read_text())
    assert report["ok"] is True
    assert {c["status"] for c in report["checks"]} == {"passed", "skipped"}


def test_a_checkpoint_with_a_fault_is_not_and_the_exit_code_says_so(
    upsize: Upsize, checkpoint_folder: Callable[[Layout], Path]
) -> None:
    folder = checkpoint_folder(Layout(end_rule=False))
    ran = upsize("verify", folder, "--batches", 1, "--json", "-")
    assert ran.code == 1
    report = json.loads(ran.out)
    assert report["ok"] is False
    assert "end token" in [c["name"] for c in report["checks"] if c["status"] == "failed"]


def test_weights_that_should_be_the_published_ones_and_are_not(upsize: Upsize, embedder_folder: Path) -> None:
    ran = upsize("verify", embedder_folder, "--batches", 1, "--published")
    assert ran.code == 1
    assert "not verified" in ran.out
    assert "no published checkpoint has this shape" in ran.out


def test_no_such_model_is_one_line(upsize: Upsize) -> None:
    ran = upsize("verify", "no-such-folder")
    assert ran.code == 1
    assert "error: no-such-folder: expected a model folder" in ran.err


def test_help_has_examples(upsize: Upsize) -> None:
    assert "upsize verify Qwen/Qwen3-Embedding-0.6B" in upsize("verify", "--help").out
