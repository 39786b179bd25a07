"""`upsize doctor` as its user sees it, of this machine and of a service."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tests.cli.conftest import Ran
from tests.diagnostics.misbehaving import NAMES, Service
from tests.little_server import serving
from upsize.cli.machine_rates import noise_note
from upsize.diagnostics import Rates

Upsize = Callable[..., Ran]


@pytest.fixture(autouse=True)
def _small(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "UPSIZE_API_KEY"):
        monkeypatch.delenv(name, raising=False)


def test_this_machine_is_told_with_what_fits(upsize: Upsize, tmp_path: Path) -> None:
    ran = upsize("doctor", "--json", tmp_path / "machine.json")
    assert ran.code == 0, ran
    for said in ("processor", "memory", "0.6B", "4B", "8B", "bfloat16", "32768 tokens", "estimated"):
        assert said in ran.out
    report = json.loads((tmp_path / "machine.json").read_text())
    assert len(report["sizes"]) == 3 * len(report["rates"]["batch"])
    assert set(report) == {"environment", "rates", "advice", "sizes"}
    assert ran.err.startswith("Measuring the speed of this machine: about 10 seconds, longer if it is busy.")


def test_rates_of_a_busy_machine_are_called_estimates() -> None:
    quiet = Rates("cpu", {"bfloat16": {128: 1e9}}, {"bfloat16": {128: 1e9}}, 1e10)
    assert noise_note(quiet) is None
    for noisy in (replace(quiet, busy=0.6), replace(quiet, spread=0.9)):
        said = str(noise_note(noisy))
        assert said.startswith("On a busy machine: ")
        assert said.endswith("Estimates from these rates are rough; measure again on an idle machine.")


def test_a_healthy_service(upsize: Upsize) -> None:
    with serving(Service(fingerprints=("abc",), key="k")) as root:
        ran = upsize("doctor", "--base-url", f"{root}/v1", "--api-key", "k", "--dimensions", 8)
    assert ran.code == 0, ran
    assert ran.out.strip().endswith("healthy")
    assert "abc" in ran.out


def test_a_service_with_something_wrong(upsize: Upsize) -> None:
    with serving(Service()) as root:
        ran = upsize("doctor", "--base-url", f"{root}/v1", "--model", "other")
    assert ran.code == 1
    assert "no embedder 'other'" in ran.out
    assert NAMES[0] in ran.out
    assert "1 thing wrong" in ran.out


def test_json_alone_on_standard_output(upsize: Upsize) -> None:
    with serving(Service(health=503)) as root:
        ran = upsize("doctor", "--base-url", f"{root}/v1", "--json", "-")
    assert ran.code == 1
    report = json.loads(ran.out)
    assert report["ok"] is False
    assert [f["kind"] for f in report["findings"]] == ["not_ready"]


def test_questions_about_a_service_need_one(upsize: Upsize) -> None:
    ran = upsize("doctor", "--model", "x")
    assert ran.code == 2
    assert "--base-url" in ran.err
