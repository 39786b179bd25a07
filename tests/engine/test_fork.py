"""In a forked process every call raises ForkedProcess at once, and a new model can be loaded."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from upsize import errors

SCRIPT = """
import multiprocessing, os, sys
import numpy as np
from upsize import Embedder
from upsize.errors import ForkedProcess, TextTooLong

embedder = Embedder(sys.argv[1], max_length=32)
vector = embedder.encode("a lamp")

def raises(call):
    try:
        call()
    except ForkedProcess as error:
        assert "spawn" in str(error), error
        return True
    return False

if (child := os.fork()) == 0:
    assert raises(lambda: embedder.encode(["a"] * 3))
    assert raises(lambda: list(embedder.stream(iter(["a"]), None)))
    embedder.close()
    with Embedder(sys.argv[1], max_length=32) as own:
        assert np.array_equal(own.encode("a lamp"), vector)
        assert own.encode(["some words " * 3] * 300).shape[0] == 300
    sys.exit(7)  # with what runs at the end of an interpreter
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7

def encode(text):
    return embedder.encode(text)

def own(text):
    with Embedder(sys.argv[1], max_length=32) as model:
        return model.encode(text)

with multiprocessing.get_context("fork").Pool(2) as pool:
    assert raises(lambda: pool.map(encode, ["a", "b"]))
    try:
        pool.map(own, ["long " * 100] * 2)
    except TextTooLong as error:
        assert error.limit == 32
    else:
        raise AssertionError("too long a text was taken")
assert np.array_equal(embedder.encode("a lamp"), vector)
print("done")
"""


def test_a_fork_raises_at_once(embedder_folder: Path) -> None:
    command = [sys.executable, "-W", "ignore", "-c", SCRIPT, str(embedder_folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.stdout, done.returncode) == ("done\n", 0), done.stderr


@pytest.mark.parametrize(
    "error",
    [
        errors.TextTooLong(9, 8, param="input", index=3, at_least=True),
        errors.InvalidInput("no", param="a", index=1),
        errors.Overloaded(1, 2.0, 3.0),
        errors.NonFiniteVector(4, "float32"),
        errors.CheckpointError("a", "b", "c"),
        errors.ForkedProcess(1, 2),
    ],
)
def test_errors_pass_between_processes(error: errors.UpsizeError) -> None:
    other = pickle.loads(pickle.dumps(error))
    assert (type(other), str(other), vars(other)) == (type(error), str(error), vars(error))
