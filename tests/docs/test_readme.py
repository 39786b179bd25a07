"""The README's cells run as they stand after `make serve`, which serves the demo models."""

from __future__ import annotations

import json
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.page import READMES
from tests.server.live import live
from upsize import demo

ADDRESS = "localhost:30000"


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    """Of a service of the demo models, which are what `upsize serve` serves where none is named."""
    with live({name: name for name in demo.NAMES}) as client:
        yield f"localhost:{client.base_url.port}"


def cells(language: str, kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", READMES[language].read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("language", READMES)
def test_the_python_cells_run(language: str, address: str) -> None:
    names: dict[str, Any] = {}
    first, second = cells(language, "python")
    assert ADDRESS in first
    exec(first.replace(ADDRESS, address), names)
    assert len(names["reply"].data[0].embedding) == 128
    exec(second, names)
    assert names["documents"].shape == (2, 128)
    assert names["best"][0].index == 0
    names["client"].close()
    names["embedder"].close()


@pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed: install the package curl")
@pytest.mark.parametrize("language", READMES)
def test_the_curl_cell_runs(language: str, address: str) -> None:
    (cell,) = [cell for cell in cells(language, "sh") if cell.startswith("curl")]
    command = cell.replace(ADDRESS, address).replace("curl ", "curl --silent --noproxy '*' ", 1)
    ran = subprocess.run(["sh", "-c", command], capture_output=True, text=True, timeout=60, check=True)
    assert [result["index"] for result in json.loads(ran.stdout)["results"]] == [1, 0]


@pytest.mark.parametrize("language", READMES)
def test_the_index_cell_runs(language: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("lancedb", reason="lancedb is not installed: pip install 'upsize[index]'")
    monkeypatch.setenv("UPSIZE_INDEXES", str(tmp_path))
    monkeypatch.chdir(READMES[language].parent)
    (cell,) = [cell for cell in cells(language, "sh") if cell.startswith("upsize index")]
    for line in cell.splitlines():
        command = [sys.executable, "-m", *shlex.split(line, comments=True)]
        ran = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "switched" in ran.stdout
