"""An installation without scipy and scikit-learn serves and plans; what needs them says what to install."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

HIDDEN = "import sys; sys.modules |= dict.fromkeys(('scipy', 'sklearn', 'ir_measures'))\n"
"""To Python a module that is None is one that is not installed."""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HIDDEN + code], capture_output=True, text=True, timeout=100)


@pytest.mark.parametrize(
    "code",
    [
        "import upsize.server, upsize.index, upsize.diagnostics, upsize.cli; upsize.Embedder('demo-xs')",
        "from upsize.selection import Run, Verdict; import upsize.selection.matrix, upsize.selection.report",
    ],
    ids=["a server and its indexes", "the matrix"],
)
def test_what_does_without(code: str) -> None:
    done = python(code)
    assert done.returncode == 0, done.stderr


def test_choosing_says_what_to_install() -> None:
    done = python("import upsize; upsize.choose('titles.csv', ['demo-xs', 'demo-s'])")
    assert done.stderr.splitlines()[-1] == (
        "upsize.errors.MissingExtra: Choosing a size, or judging a move by labels, needs the package 'scipy': "
        "pip install 'upsize[choose]'."
    )


def test_the_command_says_it_in_a_line() -> None:
    done = python("from upsize.cli import main; sys.argv = ['upsize', 'choose', '--task', 'sts']; main()")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Choosing a size")
    assert len(done.stderr.splitlines()) == 1


def test_a_service_says_it_to_whom_it_concerns(tmp_path: Path) -> None:
    code = f"""
import pathlib
from starlette.testclient import TestClient
from upsize.compute import load_model
from upsize.server import ServedModel, Service, create_app
service = Service(indexes_folder=pathlib.Path({str(tmp_path)!r}))
service.start((ServedModel("demo-xs", "demo-xs", (), load_model("demo-xs")),))
client = TestClient(create_app(service), base_url="http://127.0.0.1")
reply = client.post("/v1/indexes/docs/move/compare", json={{"queries": []}})
print(reply.status_code, reply.json()["error"]["code"])
service.finish()
"""
    done = python(code)
    assert done.stdout.split() == ["501", "missing_extra"], done.stderr
