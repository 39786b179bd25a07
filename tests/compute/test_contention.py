"""Contention: what other processes take of the processor."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from upsize.compute.contention import Counts, group_seconds, quota_cores, share_taken

START = Counts(100.0, 10.0, 500.0, 50.0)
TWO_ON_ONE_CPU = """
import os, subprocess, sys, time
from upsize.compute.contention import Contention
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
try:
    contention, end = Contention(), time.monotonic() + 0.6
    while time.monotonic() < end:
        pass
    print(contention.share())
finally:
    other.kill()
"""


def after(wall: float, own: float, others: float, group_others: float | None = None) -> Counts:
    """Counts so many seconds later, of which this process computed `own` and the others `others`."""
    group = None if group_others is None or START.group is None else START.group + own + group_others
    return Counts(START.wall + wall, START.own + own, START.machine + own + others, group)


@pytest.mark.parametrize(
    ("now", "cpus", "threads", "quota", "share"),
    [
        (after(10, 20, 0), 2, 2, None, 0.0),
        (after(10, 0, 0), 2, 2, None, 0.0),
        (after(10, 10, 10), 2, 2, None, 0.5),
        (after(10, 10, 10), 2, 1, None, 0.0),  # one thread, and one processor is left to it
        (after(10, 2, 300), 64, 2, None, 0.0),  # half of a large machine is free
        (after(10, 0, 640), 64, 2, None, 1.0),
        (after(10, 10, 300, 10), 64, 2, 2.0, 0.5),  # the machine is free; the control group's quota is not
        (after(10, 20, 300, 0), 64, 2, 2.0, 0.0),
        (after(0.05, 0.0, 0.1), 2, 2, None, 0.0),  # too short for the kernel's ticks
    ],
)
def test_the_share_is_what_others_do_not_leave(
    now: Counts, cpus: int, threads: int, quota: float | None, share: float
) -> None:
    assert share_taken(START, now, cpus, threads, quota) == pytest.approx(share)


@pytest.mark.skipif(sys.platform != "linux", reason="pins processes to one processor")
def test_another_process_on_the_same_processor_shows() -> None:
    done = subprocess.run([sys.executable, "-c", TWO_ON_ONE_CPU], capture_output=True, text=True, check=True)
    assert 0.3 < float(done.stdout) <= 1.0


def test_a_quota_of_the_control_group_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("upsize.compute.contention.CGROUP", tmp_path)
    (tmp_path / "cpu.max").write_text("150000 100000\n")
    (tmp_path / "cpu.stat").write_text("usage_usec 2500000\nuser_usec 1\n")
    assert quota_cores() == 1.5
    assert group_seconds() == 2.5
