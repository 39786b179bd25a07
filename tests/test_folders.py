"""Folders are named for every user: without a home, with one that is read-only, with one that may not be entered."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path

import pytest

from upsize import demo, folders
from upsize.index.indexes import home

VARIABLES = ("UPSIZE_CACHE", "UPSIZE_INDEXES", "XDG_CACHE_HOME", "XDG_DATA_HOME", "HF_HOME", "HF_HUB_CACHE")


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A temporary folder of its own, and nothing in the environment that names another."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    (tmp_path / "home").mkdir()
    return tmp_path


@pytest.fixture
def homeless(bare: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("HOME")

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    return bare


def test_a_home_that_can_be_written_is_used(bare: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert folders.cache_folder() == bare / "home" / ".cache" / "upsize"
    assert home() == bare / "home" / ".local" / "share" / "upsize" / "indexes"
    folders.provide_hub_home()
    assert "HF_HOME" not in os.environ
    assert not caplog.records


def test_without_a_home_a_private_folder_is_used_and_said(homeless: Path, caplog: pytest.LogCaptureFixture) -> None:
    private = homeless / f"upsize-{os.getuid()}"
    for _ in range(2):
        assert folders.cache_folder() == private / "cache"
        assert home() == private / "data" / "indexes"
    assert private.stat().st_mode & 0o777 == 0o700
    said = [record.message for record in caplog.records]
    assert len(said) == 2
    assert "no home" in said[0]
    assert "UPSIZE_CACHE" in said[0]
    assert "indexes in it are lost" in said[1]
    assert "UPSIZE_INDEXES" in said[1]
    assert folders.expanded("~/model") == Path("~/model")


def test_the_hub_libraries_get_a_home(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    private = homeless / f"upsize-{os.getuid()}"
    monkeypatch.setenv("MODELSCOPE_CACHE", "")
    monkeypatch.setenv("HF_HOME", "")  # so that both are put back
    folders.provide_hub_home()
    folders.provide_hub_home("modelscope")
    assert os.environ["HF_HOME"] == str(private / "huggingface")
    assert os.environ["MODELSCOPE_CACHE"] == str(private / "modelscope")


def test_what_the_environment_names_is_taken_as_it_is(homeless: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UPSIZE_CACHE", "/proc/no/cache")
    monkeypatch.setenv("UPSIZE_INDEXES", "/proc/no/indexes")
    monkeypatch.setenv("HF_HOME", "/proc/no/hub")
    folders.provide_hub_home()
    assert folders.cache_folder() == Path("/proc/no/cache")
    assert home() == Path("/proc/no/indexes")
    assert os.environ["HF_HOME"] == "/proc/no/hub"


def test_a_home_below_a_file_is_no_home(bare: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (bare / "file").write_text("in the way")
    monkeypatch.setenv("HOME", str(bare / "file" / "home"))
    assert folders.cache_folder() == bare / f"upsize-{os.getuid()}" / "cache"


@pytest.mark.parametrize("mode", [0o777, 0o755])
def test_a_folder_that_others_may_enter_is_not_trusted(homeless: Path, mode: int) -> None:
    planted = homeless / f"upsize-{os.getuid()}"
    planted.mkdir()
    planted.chmod(mode)
    found = folders.cache_folder()
    assert planted not in found.parents
    assert found.parent.stat().st_mode & 0o777 == 0o700


AS_ANOTHER = """
import os, sys, tempfile
import upsize
from upsize.index.indexes import home
from upsize.folders import cache_folder
os.environ["UPSIZE_CACHE"] = sys.argv[1] + "/before"
upsize.Embedder(sys.argv[2]).encode_query(["a"])  # the interpreter's own files may be root's alone
del os.environ["UPSIZE_CACHE"]
os.setgroups([]); os.setgid(54321); os.setuid(54321)
vectors = upsize.Embedder(sys.argv[2]).encode_query(["a"])
home().mkdir(parents=True)
print(len(vectors), cache_folder(), home())
"""


@pytest.mark.skipif(os.getuid() != 0, reason="only root may become another user: run it as root")
@pytest.mark.parametrize("environment", [{}, {"HOME": "/root"}, {"HOME": "/nonexistent/home"}])
def test_a_user_without_a_name_embeds(environment: Mapping[str, str]) -> None:
    paths = {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p), "PATH": os.environ["PATH"]}
    with tempfile.TemporaryDirectory(prefix="upsize-test-") as scratch:
        Path(scratch).chmod(0o777)  # pytest's own temporary folders are closed to others
        model = shutil.copytree(demo.folder("demo-xs"), Path(scratch) / "model")
        done = subprocess.run(
            [sys.executable, "-c", AS_ANOTHER, scratch, str(model)],
            env={**paths, **environment, "TMPDIR": scratch}, cwd="/", capture_output=True, text=True, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        private = Path(scratch) / "upsize-54321"
        count, cache, indexes = done.stdout.split()
        assert (count, cache, indexes) == ("1", str(private / "cache"), str(private / "data" / "indexes"))
        assert "Traceback" not in done.stderr
        assert "UPSIZE_CACHE" in done.stderr
