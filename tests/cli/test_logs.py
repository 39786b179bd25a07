"""Log lines: words from outside cannot forge one."""

from __future__ import annotations

import io
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from upsize.cli.logs import LONGEST, LineFormatter, escape


@pytest.fixture
def written() -> tuple[logging.Logger, io.StringIO]:
    """A logger, and what its handler wrote."""
    stream = io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    logger = logging.Logger("tests.logs")  # of no tree, so that pytest reports nothing that cannot be encoded
    logger.addHandler(handler)
    return logger, stream


@given(st.text())
def test_what_is_escaped_is_one_line_that_moves_no_cursor(text: str) -> None:
    line = escape(text)
    assert len(line.splitlines()) <= 1
    assert not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)
    line.encode()


@pytest.mark.parametrize(
    ("outside", "shown"),
    [
        ("/x\n2026-01-01 ERROR forged", r"/x\n2026-01-01 ERROR forged"),
        ("a\r\nb", r"a\r\nb"),
        ("\x1b[2J\x1b[31mred", r"\x1b[2J\x1b[31mred"),
        ("a\u2028b\u2029c\x85d", r"a\u2028b\u2029c\x85d"),
        ("\u202egnp.exe\ud800", r"\u202egnp.exe\ud800"),
        ("日本語 é", "日本語 é"),
    ],
)
def test_a_record_is_one_line(written: tuple[logging.Logger, io.StringIO], outside: str, shown: str) -> None:
    logger, stream = written
    logger.error("%s: %s", outside, ValueError(outside))
    assert stream.getvalue().count("\n") == 1
    assert stream.getvalue().rstrip("\n").endswith(f" ERROR {shown}: {shown}")


def test_no_line_of_a_traceback_passes_for_a_record(written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    try:
        raise ValueError("gone\n2026-01-01 00:00:00,000 INFO forged\x1b[0m")
    except ValueError:
        logger.exception("failed")
    first, *others = stream.getvalue().rstrip("\n").split("\n")
    assert first.endswith("ERROR failed")
    assert len(others) > 2
    assert all(line.startswith("  | ") for line in others)
    assert "\x1b" not in stream.getvalue()


def test_a_record_is_bounded(written: tuple[logging.Logger, io.StringIO]) -> None:
    logger, stream = written
    logger.error("%s", "x" * 10**6)
    assert len(stream.getvalue()) < LONGEST + 100
