"""Names and texts on the command line that are not UTF-8."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from tests.cli.conftest import Ran

Command = Callable[..., Ran]
ODD = os.fsdecode(b"caf\xe9")


def test_files_may_have_any_name(upsize: Command, tmp_path: Path, embedder_folder: Path) -> None:
    (tmp_path / f"{ODD}.txt").write_text("one\ntwo\n")
    output = tmp_path / f"{ODD}.npy"
    ran = upsize("embed", tmp_path / f"{ODD}.txt", "-o", output, "-m", embedder_folder)
    assert ran.code == 0, ran.err
    assert np.load(output).shape == (2, 64)
    assert json.loads((tmp_path / f"{ODD}.npy.json").read_text())["input"] == str(tmp_path / f"{ODD}.txt")
    assert "caf\\udce9.npy: 640 bytes" in ran.out


@pytest.mark.parametrize(
    "arguments",
    [
        ("embed", "d.txt", "-o", "o.npy", "--instruction", ODD),
        ("rerank", ODD, "d.txt"),
        ("rerank", "x", "d.txt", "--instruction", ODD),
        ("index", "search", "docs", ODD),
        ("index", "search", ODD, "x"),
        ("index", "delete", "docs", ODD),
        ("index", "create", "docs", "-m", ODD),
        ("embed", "d.txt", "-o", "o.npy", "-m", ODD),
    ],
)
def test_texts_have_to_be_unicode(
    upsize: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("UPSIZE_INDEXES", str(tmp_path / "indexes"))
    (tmp_path / "d.txt").write_text("one\n")
    ran = upsize(*arguments)
    assert ran.code in (1, 2)
    assert "not UTF-8" in ran.err or "not valid UTF-8" in ran.err or "none of these" in ran.err, ran.err
    assert sorted(p.name for p in tmp_path.iterdir()) in (["d.txt"], ["d.txt", "indexes"])
