"""Rates on a machine that others use too: measured again, estimated from CPU time, and said to be noisy."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from upsize.compute.contention import Contention
from upsize.diagnostics.rates import TRIES, Rates, RateTimer

BUSY_MACHINE = """
import json, os, subprocess, sys
from dataclasses import replace
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
from upsize.compute import this_machine
from upsize.diagnostics import measure_rates, rates
rates.SHAPES = {128: (replace(rates.SMALL, hidden_size=128, intermediate_size=256), (1, 2))}
rates.BLOCK, rates.PRECISIONS, rates.TRIES = 1 << 16, ("bfloat16",), 1
machine = replace(this_machine(), gpus=())
other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
try:
    told = []
    found = measure_rates(machine, seconds=0.12, on_progress=lambda done, total, what: told.append([done, total]))
    print(json.dumps({"rates": found.to_json(), "noise": found.noise, "told": told}))
finally:
    other.kill()
"""


class Scripted(Contention):
    """Says what it is told to."""

    def __init__(self, *shares: float) -> None:
        self._shares: Iterator[float] = iter(shares)
        self.asked = 0

    def restart(self) -> None:
        pass

    def share(self) -> float:
        self.asked += 1
        return next(self._shares)


def test_a_disturbed_figure_is_measured_until_it_is_quiet() -> None:
    contention, takes = Scripted(0.7, 0.05), iter([0.02] * 3 + [0.01] * 3)
    timer = RateTimer(contention, 0.0)
    assert timer.fastest(lambda: time.sleep(next(takes))) < 0.02
    assert contention.asked == 2
    assert timer.busy == 0.05


def test_what_stays_disturbed_is_estimated_from_cpu_time_and_said() -> None:
    contention = Scripted(*[0.7, 0.4, 0.6][:TRIES])
    timer = RateTimer(contention, 0.0)
    assert timer.fastest(lambda: time.sleep(0.01), lambda: 0.002) == 0.002
    assert contention.asked == TRIES
    assert timer.busy == 0.4, "of its best try"


def test_where_the_machine_stays_busy_later_figures_are_estimated_at_once() -> None:
    """Threads that wait for one another would take minutes; once it is quiet, they are measured again."""
    contention = Scripted(0.7, 0.7, 0.7, 0.6, 0.0, 0.0)
    timer, runs = RateTimer(contention, 0.0), []
    timer.fastest(lambda: runs.append(1), lambda: 0.002)
    before = len(runs)
    assert timer.fastest(lambda: runs.append(1), lambda: 0.002) == 0.002
    assert len(runs) == before
    assert timer.busy == 0.7
    assert timer.fastest(lambda: runs.append(1), lambda: 0.002) < 0.002
    assert len(runs) > before


def test_the_fastest_run_counts_where_it_is_faster_than_the_estimate() -> None:
    timer = RateTimer(Scripted(0.5, 0.5, 0.5), 0.0)
    assert timer.fastest(lambda: None, lambda: 1.0) < 0.1


def test_runs_that_differ_widely_are_noise_though_no_counter_tells_it(monkeypatch: pytest.MonkeyPatch) -> None:
    now, takes = [0.0], iter([0.0, 0.005, 0.05] * TRIES)
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])

    def run() -> None:
        now[0] += next(takes)

    timer = RateTimer(Scripted(0.0, 0.0, 0.0), 0.0)
    timer.fastest(run)
    rates = Rates("cpu", {}, {}, 1.0, timer.busy, timer.spread)
    assert rates.noisy
    assert "differed" in str(rates.noise)


def test_quiet_rates_have_no_noise() -> None:
    rates = Rates("cpu", {}, {}, 1.0)
    assert not rates.noisy
    assert rates.noise is None


@pytest.mark.skipif(sys.platform != "linux", reason="pins processes to one processor")
def test_beside_another_process_the_rates_say_that_they_are_noisy() -> None:
    done = subprocess.run([sys.executable, "-c", BUSY_MACHINE], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["rates"]["noisy"]
    assert "of the processor" in found["noise"]
    assert [d for d, _ in found["told"]] == list(range(found["told"][0][1])), "told before each figure"
