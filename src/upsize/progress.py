"""Progress of long work on standard error: a bar on a terminal, plain lines elsewhere.

A log file or a CI job is never silent for minutes. Lines come by time, not by update, so a long step has lines too.
"""

from __future__ import annotations

import sys
import threading
import time
from types import TracebackType
from typing import Any, Self, TextIO

from tqdm import tqdm

FIRST, LONGEST = 10.0, 60.0
"""Seconds until the first line, and at most between two lines. An interval is 5 % of the elapsed time. Chosen."""
REFRESH = 1.0
"""Seconds between two refreshes of a bar, so that its clock moves during a long step."""


class ProgressBar:
    """Reports how much of `total` is done; None: the total is unknown. Use it in a `with` statement.

    Without a terminal nothing is written in the first ten seconds, so quick work leaves no lines in a log.
    """

    def __init__(
        self,
        what: str,
        *,
        total: int | None = None,
        initial: int = 0,
        unit: str = "",
        show: bool = True,
        file: TextIO | None = None,
        first: float = FIRST,
    ) -> None:
        """`unit` is the plural of what is counted; `show` False keeps silent; `first` is for a shorter first wait."""
        self.what, self.total, self.done, self.unit = what, total, initial, unit
        self._show, self._file, self._first, self._initial = show, file or sys.stderr, first, initial
        self._started = time.monotonic()
        self._lines = 0
        self._lock = threading.Lock()
        self._over = threading.Event()
        self._bar: Any = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        if self._show:
            if self._file.isatty():
                unit = f" {self.unit}" if self.unit else ""
                self._bar = tqdm(
                    desc=self.what, total=self.total, initial=self._initial, unit=unit, file=self._file, leave=False
                )
            self._thread = threading.Thread(target=self._report, name="progress", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        if self._thread is not None:
            self._thread.join()
        if self._bar is not None:
            self._bar.close()
        elif self._lines and kind is None:
            self._write(f"{self._state()}, done after {duration(time.monotonic() - self._started)}")

    def update(self, count: int = 1) -> None:
        """Add `count` to the number done."""
        self.advance(self.done + count)

    def advance(self, done: int, total: int | None = None) -> None:
        """Set the number done, and the total if given."""
        with self._lock:
            self.done = done
            if total is not None:
                self.total = total
            if self._bar is not None:
                self._bar.total = self.total
                self._bar.update(done - self._bar.n)

    def describe(self, what: str) -> None:
        """Name the current step."""
        with self._lock:
            self.what = what
            if self._bar is not None:
                self._bar.set_description(what)

    def say(self, line: str) -> None:
        """Write a separate line, above the bar if there is one."""
        with self._lock:
            if self._bar is not None:
                self._bar.write(line, file=self._file)
            else:
                self._write(line)

    def _report(self) -> None:
        """Refresh the bar or write lines until the work is over."""
        while not self._over.wait(REFRESH if self._bar is not None else self._interval()):
            with self._lock:
                if self._bar is not None:
                    self._bar.refresh()
                else:
                    self._write(self._line())
                    self._lines += 1

    def _interval(self) -> float:
        return min(max(self._first, 0.05 * (time.monotonic() - self._started)), LONGEST)

    def _line(self) -> str:
        gone = time.monotonic() - self._started
        new = self.done - self._initial
        left = ""
        if self.total and new > 0 and self.done < self.total:
            left = f", about {duration(gone * (self.total - self.done) / new)} left"
        return f"{self._state()}, {duration(gone)} gone{left}"

    def _state(self) -> str:
        unit = f" {self.unit}" if self.unit else ""
        if self.total:
            return f"{self.what}: {self.done:,} of {self.total:,}{unit} ({self.done / self.total:.0%})"
        return f"{self.what}: {self.done:,}{unit}" if self.done else self.what

    def _write(self, line: str) -> None:
        self._file.write(line + "\n")
        self._file.flush()


def duration(seconds: float) -> str:
    """2 h 5 min, 3 min 20 s, 12 s, 0.4 s."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole >= 3600:
        return f"{whole // 3600} h {whole % 3600 // 60} min"
    return f"{whole // 60} min {whole % 60} s" if whole >= 60 else f"{whole} s"
