"""An installation without scipy and scikit-learn serves and plans; what needs them says what to install."""

from __future__ import annotations

import subprocess
import sys

import pytest

HIDDEN = "import sys; sys.modules |= dict.fromkeys(('scipy', 'sklearn', 'ir_measures'))\n"
"""To Python a module that is None is one that is not installed."""


def python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", HIDDEN + code], capture_output=True, text=True, timeout=100)


def test_a_server_and_its_indexes_do_without() -> None:
    done = python("import upsize.server, upsize.evolve, upsize.measure, upsize.cli; upsize.Embedder('demo-xs')")
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(
    "code", ["import upsize; upsize.choose", "import upsize.evolve.compare", "from upsize.choose import Verdict"]
)
def test_choosing_says_what_to_install(code: str) -> None:
    done = python(code)
    assert done.stderr.splitlines()[-1] == (
        "upsize.errors.MissingExtra: Choosing a size, or judging a move by labels, needs the package 'scipy': "
        "pip install 'upsize[choose]'."
    )


def test_the_command_says_it_in_a_line() -> None:
    done = python("from upsize.cli import main; sys.argv = ['upsize', 'choose', '--task', 'sts']; main()")
    assert done.returncode == 1
    assert done.stderr.startswith("error: Choosing a size")
    assert len(done.stderr.splitlines()) == 1
