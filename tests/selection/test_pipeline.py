"""All stages of a choice, with tiny models: what is shared, how it resumes, what is infeasible."""

from __future__ import annotations

import inspect
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import upsize
from upsize.compute import this_machine
from upsize.diagnostics import Rates
from upsize.errors import InvalidInput
from upsize.evaluation.datasets import load_dataset
from upsize.evaluation.metrics import point_estimate
from upsize.evaluation.tasks import task_of
from upsize.selection import Verdict, estimate, inference, read_run, tokenization
from upsize.selection.pipeline import run_choice
from upsize.selection.settings import ChoiceSettings, milliseconds

STEADY = Rates("cpu", {"bfloat16": {1024: 1e11}}, {"bfloat16": {1024: 1e11}}, 1e10)
"""In place of what the machine does, where a test is not of that."""


def quick(data: Path, models: tuple[str, ...], out: Path, **others: object) -> ChoiceSettings:
    return ChoiceSettings(data, models, out, **{"speed": False, **others})  # type: ignore[arg-type]


def test_a_verdict_with_everything(
    questions: Path, small: str, reranker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upsize.selection.load_generator.MAX_DOUBLINGS", 1)
    asked = {"rerankers": (reranker,), "depths": (3,), "dims": (32,), "rate": 20, "seconds": 1, "price": 2.0}
    found = run_choice(ChoiceSettings(questions, (small,), tmp_path, **asked))  # type: ignore[arg-type]
    assert len(found.candidates) == 4
    assert [c.flops_a_query for c in found.candidates] == sorted(c.flops_a_query for c in found.candidates)
    assert len(found.differences) == 6
    assert {s.name for s in found.slices} >= {"language=de", "language=en"}
    assert found.task.units == 40
    for candidate in found.candidates:
        assert candidate.latency is not None
        assert candidate.latency.at_rate.arrivals == 20
        assert candidate.memory is not None
        assert candidate.memory.peak
        assert (candidate.money is None) == (candidate.latency.knee is None)
        assert candidate.tokens_per_second
        run = read_run(tmp_path / candidate.run)
        assert run.statistic[0] == pytest.approx(candidate.quality.estimate)
        assert run.columns[0]["value"].mean() == pytest.approx(candidate.quality.estimate)
    assert Verdict.read(tmp_path / "verdict.json") == Verdict.from_json(json.loads(json.dumps(found.to_json())))


def test_the_values_are_those_of_the_embedder_itself(questions: Path, small: str, tmp_path: Path) -> None:
    found = run_choice(quick(questions, (small,), tmp_path, dims=(32,)))
    task = task_of(load_dataset(questions))
    groups = task.groups()
    with upsize.Embedder(small) as embedder:
        for candidate in found.candidates:
            vectors = {
                "queries": embedder.encode_query(list(groups["queries"].texts), dim=candidate.dimension),
                "corpus": embedder.encode_document(list(groups["corpus"].texts), dim=candidate.dimension),
            }
            columns = task.observe(vectors, 42)
            assert point_estimate(task.metric, columns) == pytest.approx(candidate.quality.estimate)


def test_the_same_seed_gives_the_same_verdict(questions: Path, small: str, large: str, tmp_path: Path) -> None:
    told = []
    for name in ("one", "two"):
        found = run_choice(quick(questions, (small, large), tmp_path / name, seed=3))
        told.append([found.decision, found.choice, found.reason, found.differences, found.slices, found.sample_size])
    assert told[0] == told[1]


def test_dimensions_share_one_pass(
    questions: Path, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    load = inference.load_model
    monkeypatch.setattr(inference, "load_model", lambda model, **k: seen.append(model) or load(model, **k))  # type: ignore[func-returns-value]
    run_choice(quick(questions, (small,), tmp_path, dims=(32, 48)))
    assert seen == [small]
    run_choice(quick(questions, (small,), tmp_path, dims=(32, 40, 48)))
    assert seen == [small], "the vectors are on disk"


def test_each_model_is_loaded_once(
    questions: Path, small: str, large: str, reranker: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also to be timed beside a reranker, at two depths."""
    monkeypatch.setattr("upsize.selection.load_generator.MAX_DOUBLINGS", 0)
    monkeypatch.setattr(estimate, "measure_rates", lambda *_, **__: STEADY)
    seen: list[str] = []
    load = inference.load_model
    monkeypatch.setattr(inference, "load_model", lambda model, **k: seen.append(model) or load(model, **k))  # type: ignore[func-returns-value]
    asked = {"rerankers": (reranker,), "depths": (2, 3), "rate": 20, "seconds": 1}
    found = run_choice(ChoiceSettings(questions, (small, large), tmp_path, **asked))  # type: ignore[arg-type]
    assert all(c.latency is not None for c in found.candidates)
    assert sorted(seen) == sorted([small, large, reranker])


def test_sizes_share_one_tokenisation(
    questions: Path, small: str, large: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    encode = tokenization.tokenize_texts
    monkeypatch.setattr(
        tokenization, "tokenize_texts", lambda name, *a, **k: seen.append(name) or encode(name, *a, **k)
    )  # type: ignore[func-returns-value]
    run_choice(quick(questions, (small, large), tmp_path))
    assert sorted(seen) == ["corpus", "queries"]


def test_depths_and_first_stages_share_scores(questions: Path, small: str, reranker: str, tmp_path: Path) -> None:
    settings = quick(questions, (small,), tmp_path, rerankers=(reranker,), depths=(4,), dims=(32,))
    run_choice(settings)
    (store,) = (tmp_path / "work" / "scores").glob("*.json")
    both = json.loads(store.read_text())["rows"]
    assert 40 * 4 < both < 40 * 8, "pairs that both dimensions rank are scored once"
    run_choice(replace(settings, depths=(2, 4)))
    assert json.loads(store.read_text())["rows"] == both


def test_clusterings_have_seeds(labelled: Path, small: str, large: str, tmp_path: Path) -> None:
    found = run_choice(quick(labelled, (small, large), tmp_path, kind="clustering"))
    assert found.task.metric == "V-measure"
    assert found.task.seeds == 5
    assert len(read_run(tmp_path / found.candidates[0].run).columns) == 5


@pytest.fixture(scope="module")
def whole_run(questions: Path, small: str, large: str, tmp_path_factory: pytest.TempPathFactory) -> Verdict:
    """That was never killed."""
    return run_choice(quick(questions, (small, large), tmp_path_factory.mktemp("whole")))


KILLED_AT_A_RENAME = """
import os, signal, sys
folder, renames = os.path.abspath(sys.argv.pop(1)), int(sys.argv.pop(1))

def kill_at_the_last(event, arguments):
    global renames
    if event == "os.rename" and os.path.abspath(arguments[1]).startswith(folder):
        renames -= 1
        if not renames:
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill_at_the_last)
from upsize.cli import main
main()
"""
"""`upsize`, killed when it is about to put the n-th file of a folder in place. Every file there appears by a rename."""


@pytest.mark.parametrize("renames", [1, 3, 5, 8])
def test_killed_at_any_file_it_goes_on(
    questions: Path, small: str, large: str, tmp_path: Path, whole_run: Verdict, renames: int
) -> None:
    out = tmp_path / "killed"
    command = [sys.executable, "-c", KILLED_AT_A_RENAME, str(out), str(renames)]
    command += ["choose", "--data", str(questions), "--models", small, large, "--no-speed", "--out", str(out)]
    killed = subprocess.run(command, capture_output=True, text=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (out / "verdict.json").exists()
    again = run_choice(quick(questions, (small, large), out))
    assert again.differences == whole_run.differences
    assert again.decision == whole_run.decision


def test_what_was_half_written_does_not_count(questions: Path, small: str, tmp_path: Path) -> None:
    expected = run_choice(quick(questions, (small,), tmp_path / "whole"))
    run_choice(quick(questions, (small,), tmp_path / "torn"))
    for run in (tmp_path / "torn" / "runs").iterdir():
        (run / "run.json").unlink()
    for told in (tmp_path / "torn" / "work" / "vectors").glob("*.json"):
        rows = told.with_suffix(".rows")
        told.write_text(json.dumps({"rows": 17, "tokens": 100, "seconds": 1.0}))
        os.truncate(rows, 17 * 64 * 4 + 11)
    again = run_choice(quick(questions, (small,), tmp_path / "torn"))
    assert again.candidates[0].quality == expected.candidates[0].quality
    arrays = [np.fromfile(p, np.float32) for p in sorted((tmp_path / "torn" / "work" / "vectors").glob("*.rows"))]
    assert [len(a) for a in arrays] == [40 * 64] * 2


def test_another_model_of_the_same_name_is_not_taken_for_it(
    questions: Path, small: str, large: str, tmp_path: Path
) -> None:
    for name, source in (("a", small), ("b", large)):
        (tmp_path / name).mkdir()
        (tmp_path / name / "model").symlink_to(source)
    first = run_choice(quick(questions, (str(tmp_path / "a" / "model"),), tmp_path / "out"))
    second = run_choice(quick(questions, (str(tmp_path / "b" / "model"),), tmp_path / "out"))
    assert first.candidates[0].id == second.candidates[0].id == "model"
    assert first.candidates[0].run != second.candidates[0].run
    assert first.candidates[0].quality != second.candidates[0].quality


def test_what_does_not_fit_is_refused_before_it_is_loaded(
    questions: Path, small: str, large: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A machine with room for the smaller of the two."""
    both = [
        c.memory.estimated
        for c in run_choice(quick(questions, (small, large), tmp_path / "both")).candidates
        if c.memory
    ]
    assert len(both) == 2
    machine = replace(this_machine(), available=sum(both) // 2 + 40 * 64 * 4)
    monkeypatch.setattr(estimate, "this_machine", lambda: machine)
    loaded: list[str] = []
    load = inference.load_model
    monkeypatch.setattr(inference, "load_model", lambda model, **k: loaded.append(model) or load(model, **k))  # type: ignore[func-returns-value]
    found = run_choice(quick(questions, (small, large), tmp_path / "one"))
    assert loaded == [small]
    (refusal,) = found.refused
    assert refusal.id == Path(large).name
    assert "are free" in refusal.reason
    assert any("parameters in bfloat16" in line for line in refusal.arithmetic)
    assert any(Path(large).name in line for line in found.what_would_change_it)


def test_where_nothing_fits_the_sum_is_shown(
    questions: Path, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(estimate, "this_machine", lambda: replace(this_machine(), available=1000))
    with pytest.raises(InvalidInput, match=r"(?s)None of the candidates.*parameters in bfloat16.*Nothing was loaded"):
        run_choice(quick(questions, (small,), tmp_path))


def test_a_limit_that_is_not_kept_makes_it_unfeasible(
    questions: Path, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever this machine's estimate says of so tiny a model, it is measured."""
    monkeypatch.setattr(estimate, "find_infeasible", lambda *_: None)
    monkeypatch.setattr(estimate, "measure_rates", lambda *_, **__: STEADY)
    monkeypatch.setattr("upsize.selection.load_generator.MAX_DOUBLINGS", 0)
    found = run_choice(ChoiceSettings(questions, (small,), tmp_path, rate=20, seconds=1, slo={"p95": 0.5}))
    assert found.choice is None
    assert not found.candidates[0].feasible
    assert "the limit is 0.5 ms" in str(found.candidates[0].why_not)


def test_a_limit_that_cannot_be_kept_is_refused_with_the_sum(questions: Path, small: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=r"(?s)one query: .* GFLOP a token.*limit: p95 of 0\.00001 ms.*Nothing was"):
        run_choice(ChoiceSettings(questions, (small,), tmp_path, slo={"p95": 1e-5}))


def test_on_a_busy_machine_what_an_estimate_would_refuse_is_measured(
    questions: Path, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A rate that would keep ten machines busy, by rates that others disturbed; and the verdict says so."""
    monkeypatch.setattr(estimate, "measure_rates", lambda *_, **__: replace(STEADY, busy=0.6))
    monkeypatch.setattr("upsize.selection.load_generator.MAX_DOUBLINGS", 0)
    monkeypatch.setattr("upsize.selection.feasibility.query_seconds", lambda *_: 0.5)
    found = run_choice(ChoiceSettings(questions, (small,), tmp_path, rate=20, seconds=1))
    (note,) = [n for n in found.notes if "it is measured instead" in n]
    assert "60% of the processor" in note
    assert found.candidates[0].latency is not None


def test_a_disturbed_latency_is_measured_again_by_the_same_command(
    questions: Path, small: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("upsize.selection.load_generator.MAX_DOUBLINGS", 0)
    monkeypatch.setattr(estimate, "measure_rates", lambda *_, **__: STEADY)
    monkeypatch.setattr("upsize.selection.load_point.sender_late", lambda _: False)  # whatever else this machine does
    settings = ChoiceSettings(questions, (small,), tmp_path, rate=20, seconds=1)
    for share, notes in ((0.5, 1), (0.0, 0), (0.5, 0)):
        monkeypatch.setattr("upsize.compute.contention.Contention.share", lambda _, share=share: share)
        logged: list[str] = []
        found = run_choice(settings, log=logged.append)
        assert sum("while its latency was measured" in n for n in found.notes) == notes
    assert "All is measured already." in logged, "what was measured in quiet stays"


def test_choose_is_a_function_of_the_package(questions: Path, small: str, tmp_path: Path) -> None:
    found = upsize.choose(questions, [small], out=tmp_path, dims=[32], speed=False, progress=False)
    assert isinstance(found, upsize.Verdict)
    assert inspect.isfunction(upsize.choose)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"delta": -0.1}, "--delta -0.1"),
        ({"rate": 0}, "--rate 0"),
        ({"models": ()}, "No models"),
        ({"depths": (0,)}, "--depths"),
        ({"slo": {"p90": 5}}, "p90"),
        ({"slo": {"p95": 5}, "speed": False}, "without measuring latency"),
        ({"price": -1}, "--price"),
        ({"seconds": 0.1}, "--seconds"),
    ],
)
def test_settings_that_make_no_sense(change: dict[str, object], said: str, tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match=said):
        replace(ChoiceSettings(tmp_path, ("demo-s",), tmp_path), **change)  # type: ignore[arg-type]


@pytest.mark.parametrize(("text", "value"), [("50ms", 50), ("0.2s", 200), (" 1.5 S ", 1500)])
def test_latencies_as_people_write_them(text: str, value: float) -> None:
    assert milliseconds(text) == value


@pytest.mark.parametrize("text", ["50", "fast", "0ms", "-5ms", "5 min"])
def test_what_is_no_latency(text: str) -> None:
    with pytest.raises(InvalidInput, match="Write it like 50ms"):
        milliseconds(text)
