"""A packed file that is truncated while a batch reads it is an error of that batch. Other SIGBUS signals still kill."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.checkpoints import Layout
from tests.compute.test_replaced import native_precisions
from upsize.compute.native.library import library

Folder = Callable[[Layout], Path]

# The tests run in subprocesses, because a failure kills the process.
BEGIN = """
import faulthandler, mmap, os, shutil, signal, sys, threading
import numpy as np
from pathlib import Path
from upsize.compute import load_model
from upsize.compute.network import run_to_end
from upsize.errors import WeightsDamaged
folder, precision, cache = sys.argv[1:]
sequences = [np.arange(3 + n, 600, 7, dtype=np.int32) for n in range(3)]
def load():
    model = load_model(folder, device="cpu", dtype=precision)
    (path,) = Path(cache).glob("*.packed")
    return model, path
def damaged(work):
    try:
        return work()
    except WeightsDamaged as error:
        return "damaged" if "a file that was cut" in str(error) else str(error)
"""
CUT = """
model, path = load()
right = run_to_end(model.run(sequences))
steps = sum(1 for _ in model.run(sequences))
whole, status = path.read_bytes(), path.stat()
for pauses in range(1, steps - 1):
    for length in (0, 5000, len(whole) // 2):
        model, path = load()
        fresh = [s[::-1].copy() for s in sequences]  # no prefix that is cached
        batch = model.run(fresh)
        for _ in range(pauses):
            next(batch)
        os.truncate(path, length)
        found = damaged(lambda: [step for step in batch] and "right")
        # Whole again, with the times of before: what was cut off is still zeros for this model.
        path.write_bytes(whole)
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
        after = damaged(lambda: "right" if np.array_equal(run_to_end(model.run(sequences)), right) else "wrong")
        again = damaged(lambda: "right" if np.array_equal(run_to_end(load()[0].run(sequences)), right) else "wrong")
        print(found, after, again)
"""
RACE = """
model, path = load()
right = run_to_end(model.run(sequences))
whole = path.read_bytes()
for n in range(30):
    if n % 10 == 9 or n == 0:
        path.unlink()
        model, path = load()
    started = threading.Event()
    def cut():
        started.wait()
        for _ in range(n * 10000):
            pass
        os.truncate(path, n * 1000)
    thread = threading.Thread(target=cut)
    thread.start()
    for _ in range(6):
        started.set()
        found = damaged(lambda: "right" if np.array_equal(run_to_end(model.run(sequences)), right) else "wrong")
        print(found)
    thread.join()
    path.write_bytes(whole)
    model, path = load()
"""
OTHERS = """
before = sys.argv[2] == "int8"
if before:
    faulthandler.enable()
model, path = load()
if not before:
    faulthandler.enable()
    run_to_end(model.run(sequences))
def sent():
    os.kill(os.getpid(), signal.SIGBUS)
def other_file():
    other = path.with_suffix(".other")
    other.write_bytes(bytes(10000))
    with other.open("r+b") as file:
        mapped = mmap.mmap(file.fileno(), 0)
        os.truncate(other, 10)
        return mapped[9000]
def without_handler():
    faulthandler.disable()
    return other_file()
for fault in (sent, other_file, without_handler):
    if not (child := os.fork()):
        signal.alarm(20)
        fault()
        os._exit(0)
    print("killed by", os.WTERMSIG(os.waitpid(child, 0)[1]))
os.truncate(path, 0)
print(damaged(lambda: run_to_end(model.run(sequences)).sum()))
"""


@pytest.fixture(params=["int8", "bfloat16"])
def answers(
    request: pytest.FixtureRequest, checkpoint_folder: Folder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str], list[str]]:
    """Run one of the scripts; the lines that it prints."""
    if request.param not in native_precisions() or not hasattr(library(), "upsize_watch"):
        pytest.skip("no compiled kernels of this version: pip install -e . with a compiler at hand")
    monkeypatch.setenv("UPSIZE_CACHE", str(tmp_path))
    folder = checkpoint_folder(Layout())

    def run(script: str) -> list[str]:
        command = [sys.executable, "-c", BEGIN + script, str(folder), request.param, str(tmp_path)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.splitlines()

    return run


def test_a_file_that_is_cut_during_a_batch_is_an_error_of_that_batch(answers: Callable[[str], list[str]]) -> None:
    found = answers(CUT)
    assert len(found) >= 6
    # Where nothing of the half that was cut off is still read, the batch fails, and the whole file serves again.
    assert "damaged damaged right" in found
    assert set(found) <= {"damaged damaged right", "damaged right right"}


def test_a_file_that_is_cut_at_any_time_gives_no_wrong_vectors(answers: Callable[[str], list[str]]) -> None:
    found = answers(RACE)
    assert len(found) == 180
    assert "damaged" in found
    assert set(found) <= {"right", "damaged"}


def test_every_other_sigbus_kills_as_before(answers: Callable[[str], list[str]]) -> None:
    assert answers(OTHERS) == ["killed by 7", "killed by 7", "killed by 7", "damaged"]
