"""`upsize choose`: what it prints, and what it says of mistakes before any model is loaded."""

from __future__ import annotations

import functools
import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from upsize import progress
from upsize.selection import Verdict

Upsize = Callable[..., Ran]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    path = tmp_path / "pairs.csv"
    rows = [
        f"train {i} to Bern,{'a' if i % 3 else 'the'} train {i} to {'Bern' if i % 2 else 'Basel'},{i % 5}"
        for i in range(30)
    ]
    path.write_text("text1,text2,score\n" + "\n".join(rows) + "\n")
    return path


def test_several_values_after_one_option(upsize: Upsize, pairs: Path, embedder_folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "report"
    ran = upsize("choose", "--data", pairs, "--models", embedder_folder, "--dims", 32, 48, "--no-speed", "--out", out)
    assert ran.code == 0, ran.err
    assert "30 units, by Spearman" in ran.err
    found = Verdict.read(out / "verdict.json")
    assert [c.dimension for c in found.candidates] == [32, 48, 64]
    assert found.reason in ran.out.replace("\n", " ")
    assert (out / "index.html").exists()
    assert {f"{c.run}/run.json" for c in found.candidates} == {
        str(p.relative_to(out)) for p in out.glob("runs/*/run.json")
    }
    again = upsize(
        "choose", "--data", pairs, "--models", embedder_folder, "--dims", 32, 48, "--no-speed", "--out", out, "--json"
    )
    told = json.loads(again.out)
    assert told["differences"] == list(found.to_json()["differences"])
    assert told["decision"] == found.decision


def test_what_is_redirected_is_whole(
    upsize: Upsize, pairs: Path, embedder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a terminal there is no width to keep to: each candidate is a line, with all its figures."""
    monkeypatch.delenv("COLUMNS")
    command = ["choose", "--data", pairs, "--models", embedder_folder, "--dims", 32, "--no-speed"]
    ran = upsize(*command, "--out", tmp_path / "report")
    (head,) = [line for line in ran.out.splitlines() if "candidate" in line and "bytes/vector" in line]
    found = Verdict.read(tmp_path / "report" / "verdict.json")
    for c in found.candidates:
        (line,) = [x for x in ran.out.splitlines() if f" {c.id} " in x and f"{c.quality.estimate:.3f}" in x]
        assert line.rstrip().endswith(f"{c.bytes_a_vector:,}")
        assert len(line) <= len(head) + 1
    assert "…" not in ran.out


def test_a_log_hears_what_is_to_do_and_how_far_it_is(
    upsize: Upsize, pairs: Path, embedder_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    often = functools.partial(progress.ProgressBar, first=0.001)
    monkeypatch.setattr("upsize.selection.row_store.ProgressBar", often)
    command = ["choose", "--data", pairs, "--models", embedder_folder, "--no-speed", "--out", tmp_path / "report"]
    ran = upsize(*command)
    assert "60 texts to embed." in ran.err
    assert re.search(r"embedded: [\d,]+ of \d+ texts \(\d+%\)", ran.err)
    assert "All is measured already." in upsize(*command).err


@pytest.mark.parametrize(
    ("rows", "said"),
    [
        ("", "empty|no "),
        ("text,label\none text,a\n", "nothing to tell apart"),
        ("text1,text2,score\na,b,1\n", "nothing to order"),
        ("query,positive,negative\na,b,c\n", "one query"),
        ("id,text1,text2,score\n1,a,b,1\n1,c,d,0.5\n2,e,f,0\n", "line 3.*already"),
        ("text1,text2,score\na,b,much\nc,d,1\ne,f,2\n", "line 2.*not a number"),
    ],
)
def test_data_that_cannot_decide(upsize: Upsize, tmp_path: Path, rows: str, said: str) -> None:
    path = tmp_path / "data.csv"
    path.write_text(rows)
    ran = upsize("choose", "--data", path, "--models", "no-such-model", "--out", tmp_path / "report")
    assert ran.code == 1
    assert re.search(said, ran.err, re.DOTALL), ran.err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--models", "demo-s"], "--data PATH"),
        (["--data", "x.csv"], "--models NAME"),
        (["--data", "nowhere.csv", "--models", "demo-s"], "nowhere.csv: no such file"),
        (["--data", "x.csv", "--models", "demo-s", "--slo-p95", "fast"], "50ms"),
        (["--data", "x.csv", "--models", "demo-s", "--delta", "2"], "--delta 2"),
        (["--data", "x.csv", "--models", "demo-s", "--recipe", "soup"], "zh-news-clustering"),
        (["--data", "x.csv", "--models", "demo-s", "--field", "title"], "ROLE=NAME"),
        (["--data", "x.csv", "--models", "demo-s", "--task", "clustering"], "with --data, use --kind"),
    ],
)
def test_wrong_usage(upsize: Upsize, arguments: list[str], said: str) -> None:
    ran = upsize("choose", *arguments)
    assert ran.code in (1, 2)
    assert said in ran.err


def test_models_that_cannot_be_compared(
    upsize: Upsize, pairs: Path, embedder_folder: Path, reranker_folder: Path, tmp_path: Path
) -> None:
    def said(*arguments: object) -> str:
        ran = upsize("choose", "--data", pairs, "--no-speed", "--out", tmp_path / "report", *arguments)
        assert ran.code == 1
        return ran.err

    assert "named twice" in said("--models", embedder_folder, embedder_folder)
    assert "A model for --rerankers?" in said("--models", reranker_folder)
    assert "no documents to rerank" in said("--models", embedder_folder, "--rerankers", reranker_folder)
    assert "these models give 32 to 64" in said("--models", embedder_folder, "--dims", 65)


def test_with_no_data_what_is_published(upsize: Upsize) -> None:
    ran = upsize("choose", "--task", "clustering", "--language", "zh", "--json")
    assert ran.code == 0, ran.err
    assert "prior" in json.dumps(json.loads(ran.out)).lower()
