"""A served model keeps its own copy of the weights: changes to the checkpoint's files do not affect it."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.checkpoints import Layout, copy_of
from tests.networks import finish
from upsize.compute import load_model
from upsize.compute.machine import this_machine
from upsize.compute.plan import runs_on_kernels
from upsize.errors import CheckpointError
from upsize.model import open_checkpoint

Folder = Callable[[Layout], Path]

# In a process of its own: a mapped file that is cut kills whoever reads it.
SERVE = """
import os, shutil, sys
import numpy as np
from upsize.compute import load_model
from upsize.compute.network import run_to_end
folder, other, *precisions = sys.argv[1:]
path = folder + "/model.safetensors"
models = [load_model(folder, device="cpu", dtype=precision) for precision in precisions]
sequences = [np.arange(3 + n, 600, 7, dtype=np.int32) for n in range(3)]
before = [run_to_end(model.run([s[:5] for s in sequences])) for model in models]
def say(what):
    # Tokens that were not read before, then those that were.
    after = [run_to_end(model.run(sequences)) for model in models]
    again = [run_to_end(model.run([s[:5] for s in sequences])) for model in models]
    print(what, all(map(np.array_equal, again, before)), [float(a.sum()) for a in after])
with open(other, "rb") as source, open(path, "r+b") as target:  # as cp and rsync --inplace do
    shutil.copyfileobj(source, target)
say("written")
os.truncate(path, 100)
say("cut")
os.unlink(path)
say("gone")
assert "torch" not in sys.modules
"""


def native_precisions() -> list[str]:
    kernels = this_machine().kernels
    return [p for p in ("int8", "bfloat16") if kernels and runs_on_kernels("cpu", p, kernels, torch=True)]


def test_a_served_model_does_not_notice_what_is_done_to_its_files(checkpoint_folder: Folder, tmp_path: Path) -> None:
    if not (precisions := native_precisions()):
        pytest.skip("the compiled kernels are not built: pip install -e . with a compiler at hand")
    folder = copy_of(checkpoint_folder(Layout()), tmp_path / "model")
    other = checkpoint_folder(Layout(seed=1)) / "model.safetensors"
    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(folder), str(other), *precisions],
        cwd=Path(__file__).parents[2], capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    words = [line.split(" ", 2) for line in done.stdout.splitlines()]
    assert [(what, same) for what, same, _ in words] == [("written", "True"), ("cut", "True"), ("gone", "True")]
    assert len({sums for _, _, sums in words}) == 1


def test_a_network_in_torch_does_not_either(checkpoint_folder: Folder, tmp_path: Path) -> None:
    folder = copy_of(checkpoint_folder(Layout()), tmp_path / "model")
    model = load_model(folder, device="cpu", dtype="float32")
    sequence = np.arange(3, 600, 7, dtype=np.int32)
    (folder / "model.safetensors").write_bytes((checkpoint_folder(Layout(seed=1)) / "model.safetensors").read_bytes())
    plain = load_model(checkpoint_folder(Layout()), device="cpu", dtype="float32")
    assert np.array_equal(finish(model.run([sequence])), finish(plain.run([sequence])))


@pytest.mark.parametrize("precision", ["auto", "int8"])
def test_weights_that_were_changed_between_two_starts_are_served(
    checkpoint_folder: Folder, tmp_path: Path, precision: str
) -> None:
    """In rows that samples leave out, too: what was packed of the old ones is not taken."""
    folder = copy_of(checkpoint_folder(Layout(dtype="bfloat16")), tmp_path / "model")
    before = load_model(folder, device="cpu", dtype=precision)
    sequence = np.arange(250, 380, dtype=np.int32)
    path, table = folder / "model.safetensors", before.checkpoint.weights.tensors["embed_tokens.weight"]
    content = bytearray(path.read_bytes())
    width = table.bytes // table.shape[0]
    rows = slice(table.offset + 240 * width, table.offset + 390 * width)  # between the second and the third sample
    content[rows] = content[rows][7 * width :] + content[rows][: 7 * width]
    path.write_bytes(content)
    after = load_model(folder, device="cpu", dtype=precision)
    assert after.sampled_fingerprint == before.sampled_fingerprint
    assert after.fingerprint.id != before.fingerprint.id
    assert not np.array_equal(finish(after.run([sequence])), finish(before.run([sequence])))


@pytest.mark.parametrize("moment", ["opened", "hashed"])
@pytest.mark.parametrize("precision", ["int8", "float32"])
def test_a_file_that_changes_while_the_model_is_loaded_is_named(
    checkpoint_folder: Folder, tmp_path: Path, moment: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is loaded is what was hashed, or nothing is."""
    monkeypatch.setenv("UPSIZE_CACHE", str(tmp_path / "cache"))
    folder = copy_of(checkpoint_folder(Layout()), tmp_path / "model")
    other = (checkpoint_folder(Layout(seed=1)) / "model.safetensors").read_bytes()

    def opened(path: Path, kind: object) -> object:
        checkpoint = open_checkpoint(path)
        if moment == "hashed":
            _ = checkpoint.weights.digest
        (folder / "model.safetensors").write_bytes(other)
        return checkpoint

    monkeypatch.setattr("upsize.compute.loaded_model.open_checkpoint", opened)
    with pytest.raises(CheckpointError, match=r"expected the file that was there when the model was opened"):
        load_model(folder, device="cpu", dtype=precision)
