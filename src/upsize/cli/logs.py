"""The log of a service: one line per record, whatever text from outside it contains."""

from __future__ import annotations

import logging
import types
from collections.abc import Iterable

from upsize.errors import InvalidInput

LEVELS = ("debug", "info", "warning", "error")
LONGEST = 4000
"""Most characters of a message. Chosen."""


def _codes() -> Iterable[int]:
    """Codes of characters that end a line, move a terminal's cursor, or change the reading direction."""
    yield from range(0x20)
    yield from range(0x7F, 0xA0)
    yield from (0x200E, 0x200F, 0x2028, 0x2029, 0xFEFF)
    yield from range(0x202A, 0x202F)
    yield from range(0x2066, 0x206A)
    yield from range(0xD800, 0xE000)  # half surrogates, which no file takes


_ESCAPES = {code: ascii(chr(code))[1:-1] for code in _codes()}


def escape(text: str) -> str:
    """Escape control characters as Python does, so that a text is one line."""
    return text.translate(_ESCAPES)


class LineFormatter(logging.Formatter):
    """Writes a record as one line. Lines of a traceback follow with a mark, so that none looks like a record."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 (logging's name)
        """Format the record as one line."""
        if len(record.message) > LONGEST:
            record.message = f"{record.message[:LONGEST]}… ({len(record.message):,} characters)"
        record.message = escape(record.message)
        return super().formatMessage(record)

    def formatException(  # noqa: N802
        self,
        ei: tuple[type[BaseException], BaseException, types.TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """Format the traceback with marked lines."""
        return _marked(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """Format the stack with marked lines."""
        return _marked(super().formatStack(stack_info))


def log_to_stderr(level: str) -> None:
    """Set up the log of a service. Raises InvalidInput for an unknown level."""
    if level.lower() not in LEVELS:
        raise InvalidInput(f"--log-level {level}: use one of {', '.join(LEVELS)}.")
    handler = logging.StreamHandler()
    handler.setFormatter(LineFormatter("%(asctime)s %(levelname)s %(message)s"))
    logging.basicConfig(level=level.upper(), handlers=[handler], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    logging.getLogger("httpx").setLevel(logging.WARNING)


def _marked(lines: str) -> str:
    return "\n".join(f"  | {escape(line)}" for line in lines.split("\n"))
