"""Progress: lines in a log, a bar on a terminal, silence for quick work."""

from __future__ import annotations

import io
import re
import threading

import pytest

from upsize.progress import ProgressBar, duration


class Log(io.StringIO):
    """Standard error redirected to a file; `told` is set once it has a line."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def write(self, text: str) -> int:
        written = super().write(text)
        self.told.set()
        return written


class Terminal(Log):
    def isatty(self) -> bool:
        return True


def test_a_log_gets_plain_lines_even_within_one_long_step() -> None:
    log = Log()
    bar = ProgressBar("embedding", total=2_000, unit="texts", file=log, first=0.01)
    bar.update(500)
    with bar:
        assert log.told.wait(30), "no line came although no update did"
    first, *_, last = log.getvalue().splitlines()
    assert re.fullmatch(r"embedding: 500 of 2,000 texts \(25%\), [\d.]+ s gone, about [\d.]+ s left", first)
    assert re.fullmatch(r"embedding: 500 of 2,000 texts \(25%\), done after [\d.]+ s", last)
    assert "\r" not in log.getvalue()


def test_quick_work_leaves_no_line() -> None:
    log = Log()
    with ProgressBar("embedding", total=2, file=log) as bar:
        bar.update(2)
    assert log.getvalue() == ""


def test_work_that_failed_is_not_called_done() -> None:
    log = Log()

    def work() -> None:
        with ProgressBar("loading", file=log, first=0.01):
            assert log.told.wait(30)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert log.getvalue().startswith("loading, ")
    assert "done" not in log.getvalue()


def test_steps_are_named_and_a_line_may_be_said() -> None:
    log = Log()
    with ProgressBar("one", file=log) as bar:
        bar.describe("two")
        bar.say("a note")
        bar.advance(3, 4)
    assert (bar.what, bar.done, bar.total) == ("two", 3, 4)
    assert log.getvalue() == "a note\n"


def test_a_terminal_gets_a_bar() -> None:
    terminal = Terminal()
    with ProgressBar("embedding", total=10, unit="texts", file=terminal) as bar:
        bar.advance(10)
        bar.say("a note")
    assert "embedding" in terminal.getvalue()
    assert "\r" in terminal.getvalue()
    assert "a note\n" in terminal.getvalue()


def test_silence_can_be_asked_for() -> None:
    terminal = Terminal()
    with ProgressBar("embedding", total=10, file=terminal, show=False) as bar:
        bar.update(10)
    assert terminal.getvalue() == ""


@pytest.mark.parametrize(
    ("seconds", "told"), [(0.4, "0.4 s"), (12.4, "12 s"), (59.6, "1 min 0 s"), (200, "3 min 20 s"), (7500, "2 h 5 min")]
)
def test_durations(seconds: float, told: str) -> None:
    assert duration(seconds) == told
