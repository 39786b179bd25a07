"""Stopped at any point, the same command goes on, and results of two runs never mix."""

from __future__ import annotations

import gc
import json
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Ran, finished, start
from tests.cli.test_embed import vectors
from upsize.errors import InvalidInput
from upsize.jobs.partial_output import Partial

Command = Callable[..., Ran]


@pytest.fixture
def many(tmp_path: Path) -> Path:
    path = tmp_path / "many.txt"
    path.write_text("".join(f"train {i}\n" for i in range(1600)))
    return path


def kill_after_checkpoints(process: subprocess.Popen[str], journal: Path, with_signal: int, lines: int = 3) -> None:
    """Send the signal once the journal has that many lines."""
    deadline = time.monotonic() + 60
    while not journal.exists() or journal.read_bytes().count(b"\n") < lines:
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.005)
    process.send_signal(with_signal)


@pytest.mark.parametrize("suffix", [".npy", ".parquet"])
def test_killed_and_resumed(upsize: Command, tmp_path: Path, many: Path, embedder_folder: Path, suffix: str) -> None:
    output, partial = tmp_path / f"out{suffix}", tmp_path / f"out{suffix}.partial"
    command = ["embed", many, "-o", output, "-m", embedder_folder, "--checkpoint", 0]
    process = start(*command)
    kill_after_checkpoints(process, partial / "journal.jsonl", signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    assert not output.exists()
    done = json.loads((partial / "journal.jsonl").read_bytes().rpartition(b"\n")[0].splitlines()[-1])["rows"]
    assert 0 < done < 1600
    with (partial / "journal.jsonl").open("ab") as journal, (partial / "data").open("ab") as data:
        journal.write(b'{"rows": 39')  # what a kill in the middle of a write leaves
        data.write(b"half a vec")
    ran = upsize(*command)
    assert ran.code == 0, ran.err
    assert f"1,600 texts ({done:,} of them by an earlier run)" in ran.out
    assert not partial.exists()
    upsize("embed", many, "-o", tmp_path / f"whole{suffix}", "-m", embedder_folder)
    np.testing.assert_allclose(vectors(output), vectors(tmp_path / f"whole{suffix}"), atol=1e-5)


def test_interrupted_by_the_user(upsize: Command, tmp_path: Path, many: Path, embedder_folder: Path) -> None:
    output = tmp_path / "out.jsonl"
    command = ["embed", many, "-o", output, "-m", embedder_folder, "--checkpoint", 0]
    process = start(*command)
    kill_after_checkpoints(process, tmp_path / "out.jsonl.partial" / "journal.jsonl", signal.SIGINT)
    ran = finished(process)
    assert ran.code == 130
    assert "of 1,600 texts are kept in" in ran.err
    assert "the same command resumes from there." in ran.err
    # Something else may not go on from there, and says what it is that differs.
    for change, told in (
        (["--dim", "32"], "dimension was 64 and is now 32"),
        (["--query"], "input_type was 'document' and is now 'query'"),
        (["--dtype", "bfloat16"], "dtype was 'float32' and is now 'bfloat16'"),
        (["--limit", "1600"], "limit was None and is now 1600"),
    ):
        ran = upsize(*command, *change)
        assert ran.code == 1
        assert told in ran.err
        assert "add --overwrite to start over" in ran.err
    rows = len((tmp_path / "out.jsonl.partial" / "data").read_bytes().splitlines())
    text = many.read_text()
    many.write_text(text.replace("train 7\n", "train seven\n"))
    assert "of another run: the input changed." in upsize(*command).err
    many.write_text(text)
    ran = upsize(*command)
    assert f"{rows:,} of them by an earlier run" in ran.out
    assert [json.loads(line)["line"] for line in output.read_text().splitlines()] == list(range(1, 1601))


def test_overwrite_starts_over(upsize: Command, tmp_path: Path, texts: Path, embedder_folder: Path) -> None:
    output = tmp_path / "out.npy"
    with Partial(output, overwrite=False) as partial:
        partial.begin({"dimension": 7}, 10, b"")
        partial.append(b"other vectors", 5, 50, [(3, 1)])
        partial.commit()
    command = ["embed", texts, "-o", output, "-m", embedder_folder]
    assert "holds 5 rows of another run" in upsize(*command).err
    assert upsize(*command, "--overwrite").code == 0
    assert np.load(output).shape == (300, 64)
    assert json.loads((tmp_path / "out.npy.json").read_text())["truncated"] == []
    ran = upsize(*command)
    assert ran.code == 1
    assert f"{output} exists. Add --overwrite to replace it." in ran.err


def test_killed_between_the_output_and_its_sidecar(
    upsize: Command, tmp_path: Path, texts: Path, embedder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = tmp_path / "out.npy"
    command = ["embed", texts, "-o", output, "-m", embedder_folder]

    def killed(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("upsize.jobs.partial_output.write_atomic", killed_at_sidecar(killed))
        upsize(*command)
    assert output.exists()
    assert not (tmp_path / "out.npy.json").exists()
    before = output.read_bytes()
    assert upsize(*command).code == 0
    assert output.read_bytes() == before
    assert json.loads((tmp_path / "out.npy.json").read_text())["rows"] == 300
    assert not (tmp_path / "out.npy.partial").exists()


def killed_at_sidecar(kill: Callable[..., None]) -> Callable[[Path, bytes], None]:
    from upsize.io.atomic import write_atomic

    def write(path: Path, content: bytes) -> None:
        if path.name == "sidecar":
            kill()
        write_atomic(path, content)

    return write


def test_two_runs_at_once(upsize: Command, tmp_path: Path, texts: Path) -> None:
    with Partial(tmp_path / "out.npy", overwrite=False):
        ran = upsize("embed", texts, "-o", tmp_path / "out.npy")
    assert ran.code == 1
    assert "another run is writing it" in ran.err


def test_an_input_that_changes_meanwhile(
    upsize: Command, tmp_path: Path, many: Path, embedder_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = Partial.commit

    def and_then_someone_writes(partial: Partial) -> None:
        commit(partial)
        with many.open("a") as file:
            file.write("one more\n")

    monkeypatch.setattr(Partial, "commit", and_then_someone_writes)
    ran = upsize("embed", many, "-o", tmp_path / "out.npy", "-m", embedder_folder, "--checkpoint", 0)
    assert ran.code == 1
    assert f"{many} changed while it was being read. Start over with --overwrite." in ran.err


def test_file_size_limit(
    upsize: Command, tmp_path: Path, many: Path, embedder_folder: Path, largest_file: Callable[[int], None]
) -> None:
    output = tmp_path / "out.npy"
    command = ["embed", many, "-o", output, "-m", embedder_folder, "--checkpoint", 0]
    largest_file(200_000)
    ran = upsize(*command)
    assert ran.code == 1
    assert f"{output}.partial/data: 16,384 bytes more did not fit, the file has reached its size limit" in ran.err
    assert "bytes are to come" in ran.err
    assert "768 of 1,600 texts are kept" in ran.err
    largest_file(1_000_000)
    ran = upsize(*command)
    assert "1,600 texts (768 of them by an earlier run)" in ran.out
    assert np.load(output).shape == (1600, 64)


def test_standard_input_resumes_too(
    upsize: Command, tmp_path: Path, many: Path, embedder_folder: Path, largest_file: Callable[[int], None]
) -> None:
    output, content = tmp_path / "out.npy", many.read_bytes()
    command = ["embed", "-", "-o", output, "-m", embedder_folder, "--checkpoint", 0]
    assert "line 2: not UTF-8" in upsize(*command, stdin=b"one\n\xff\n").err
    assert not (tmp_path / "out.npy.partial").exists()
    largest_file(200_000)
    assert "768 of 1,600 texts are kept" in upsize(*command, stdin=content).err
    largest_file(1_000_000)
    assert "of another run: the input changed" in upsize(*command, stdin=content.replace(b"7", b"8")).err
    assert "(768 of them by an earlier run)" in upsize(*command, stdin=content).out
    assert np.load(output).shape == (1600, 64)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MiB, where this process may mount one."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if mount is None or os.geteuid() or subprocess.call([mount, "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]):
        pytest.skip("needs the right to mount a file system; the limit on file sizes is tested without")
    yield folder
    gc.collect()  # a writer that failed may still have its file open
    subprocess.check_call(["umount", folder])


@pytest.mark.parametrize("suffix", [".jsonl", ".parquet"])
def test_full_disk(upsize: Command, tmp_path: Path, small_disk: Path, embedder_folder: Path, suffix: str) -> None:
    output, source = small_disk / f"out{suffix}", tmp_path / "docs.txt"
    source.write_text("".join(f"{i}\n" for i in range(2000)))
    (small_disk / "ballast").write_bytes(bytes(200_000))
    command = ["embed", source, "-o", output, "-m", embedder_folder, "--checkpoint", 0]
    ran = upsize(*command)
    assert ran.code == 1
    assert "no space left on the device" in ran.err
    assert not output.exists()
    subprocess.check_call(["mount", "-o", "remount,size=8m", small_disk])
    ran = upsize(*command)
    assert ran.code == 0, ran.err
    assert "by an earlier run" in ran.out
    assert vectors(output).shape == (2000, 64)


def test_a_partial_of_nothing_is_removed(tmp_path: Path) -> None:
    with pytest.raises(InvalidInput, match="no folder"), Partial(tmp_path / "no" / "out.npy", overwrite=False):
        pass
    with Partial(tmp_path / "out.npy", overwrite=False) as partial:
        partial.begin({}, 1, b"header")
    assert list(tmp_path.iterdir()) == []
