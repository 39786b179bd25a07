"""Commands by a user whom the system does not know: no entry in passwd, no HOME, or one that cannot be written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import upsize

NOBODY = 54321
SETPRIV = shutil.which("setpriv")
READER = "-all,+dac_read_search"
"""The one capability that is kept: to read Python's own files wherever they lie. It lets nothing be written."""

pytestmark = pytest.mark.skipif(
    SETPRIV is None or os.geteuid() != 0, reason="becoming another user needs root and setpriv"
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The unknown user's working folder, and temporary folder, for /tmp may hold some of earlier runs."""
    own = tmp_path / "own"
    (own / "tmp").mkdir(parents=True)
    for path in (own, own / "tmp"):
        os.chown(path, NOBODY, NOBODY)
    (own / "docs.txt").write_text("one\ntwo\n")
    return own


def start(folder: Path, *command: str, **environment: str) -> subprocess.Popen[str]:
    become = ["--reuid", f"{NOBODY}", "--regid", f"{NOBODY}", "--clear-groups"]
    become += [f"--{kind}={READER}" for kind in ("inh-caps", "ambient-caps", "bounding-set")]
    variables = {
        "PATH": os.defpath,
        "PYTHONPATH": str(Path(upsize.__file__).parents[1]),
        "OMP_NUM_THREADS": "1",
        "TMPDIR": str(folder / "tmp"),
        **environment,
    }
    return subprocess.Popen(
        [str(SETPRIV), *become, sys.executable, "-m", "upsize", *command],
        cwd=folder, env=variables, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip


def test_an_unknown_user_without_a_home(folder: Path) -> None:
    _, err = (embed := start(folder, "embed", "docs.txt", "-o", "out.npy", "-m", "demo-xs")).communicate(timeout=100)
    assert embed.returncode == 0, err
    assert np.load(folder / "out.npy").shape == (2, 64)
    assert "this user has no home folder" in err
    assert "UPSIZE_CACHE" in err


def test_indexes_of_another_user(folder: Path) -> None:
    others = folder / "others"
    others.mkdir()  # of root
    create = start(folder, "index", "create", "docs", "-m", "demo-xs", UPSIZE_INDEXES=str(others), HOME="/proc")
    _, err = create.communicate(timeout=100)
    assert create.returncode == 1
    assert f"error: {others / 'docs'} cannot be written: Permission denied" in err
    assert "set UPSIZE_INDEXES to a folder of this user" in err
    assert "Traceback" not in err
