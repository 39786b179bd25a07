"""The `upsize` command, run in this process or, where a test kills it, as one of its own."""

from __future__ import annotations

import io
import resource
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from upsize.cli import main

PROGRAM = [sys.executable, "-c", "from upsize.cli import main; main()"]


@dataclass(frozen=True)
class Ran:
    """What a command left behind."""

    code: int
    out: str
    err: str


@pytest.fixture
def upsize(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Callable[..., Ran]:
    """Run the command in this process, through the function that the console script calls."""
    monkeypatch.setenv("COLUMNS", "300")

    def run(*arguments: object, stdin: bytes = b"") -> Ran:
        monkeypatch.setattr(sys, "argv", ["upsize", *map(str, arguments)])
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        with pytest.raises(SystemExit) as stop:
            main()
        captured = capsys.readouterr()
        assert "Traceback" not in captured.err
        return Ran(stop.value.code if isinstance(stop.value.code, int) else 0, captured.out, captured.err)

    return run


def start(*arguments: object) -> subprocess.Popen[str]:
    """The command as a process."""
    command, pipe = [*PROGRAM, *map(str, arguments)], subprocess.PIPE
    return subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True, preexec_fn=_heed_interrupts)


def _heed_interrupts() -> None:
    """A shell starts its background jobs with interrupts ignored, and so would be a test's process."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def finished(process: subprocess.Popen[str]) -> Ran:
    """Wait for a process."""
    out, err = process.communicate(timeout=60)
    assert "Traceback" not in err, err
    return Ran(process.returncode, out, err)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    """A text file of 300 lines, all different."""
    path = tmp_path / "docs.txt"
    path.write_text("".join(f"Train {i} to Geneva leaves from platform {i % 7}.\n" for i in range(300)))
    return path


@pytest.fixture
def largest_file() -> Iterator[Callable[[int], None]]:
    """Set the largest size in bytes of a file that this process may write; undone at the end."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
