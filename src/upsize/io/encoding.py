"""Detects the encoding of a file.

UTF-8, UTF-16 and UTF-32 show by their marks or their bytes. Of the older encodings only GB18030 is read without an
option, if the bytes leave no doubt. A file in another encoding is refused, because most bytes are valid in several
encodings and mean different characters; the error shows the first line in the likeliest ones.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import IO

from upsize.errors import InvalidInput
from upsize.io import guess
from upsize.io.types import LONGEST

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
HEAD = 4096
CHARACTERS = 40
"""Characters of a line to show in another encoding."""
SAMPLE = 2000
"""Lines that are not UTF-8 to detect an encoding from."""
BLOCK = 1 << 20
_ESCAPES = re.compile(rb"\x1b[$(][()*+]?[@-Z]|\x0e[!-~]{2,}\x0f|~\{(?:[!-w][!-~])+~\}")
"""What ISO 2022 (-JP, -KR, -CN) and HZ put around characters, each of two bytes of ASCII."""
_SHIFTED = (
    "escapes of an encoding of seven bits, whose characters would be read as ASCII. Say it with --encoding: "
    "iso2022_jp, iso2022_kr or hz; utf-8 if the file is meant as it stands."
)
FIXED_WIDTH = ("utf-16", "utf-32")


@dataclass(frozen=True)
class TextEncoding:
    """How a file's bytes become text."""

    name: str
    """Python's name of the encoding."""
    note: str | None = None
    """A note for the user; None for plain UTF-8."""
    clean: bool = True
    """Whether every byte is valid; if not, lone surrogates stand for invalid bytes."""
    others: tuple[str, ...] = ()
    """Possible encodings of lines that are not UTF-8, the likeliest first."""

    @property
    def errors(self) -> str:
        """Python's error handler: invalid bytes become a row error of their line, if the encoding allows it."""
        return "strict" if self.name.startswith(FIXED_WIDTH) else "surrogateescape"

    @property
    def shown(self) -> str:
        """Its name in messages."""
        return "UTF-8" if self.name in ("utf-8", "utf-8-sig") else self.name

    def row_error(self, line: str) -> str | None:
        """Return what is invalid in a line: a byte outside the encoding, or a NUL. None if the line is valid."""
        if "\0" in line:
            return f"a NUL byte at position {line.index(chr(0)) + 1}: not text"
        if self.clean or line.isascii():
            return None
        try:
            line.encode()
        except UnicodeEncodeError as error:
            if self.shown != "UTF-8":
                byte = f"{ord(line[error.start]) & 0xFF:02x}"
                return f"not {self.shown} (byte 0x{byte} at character {error.start + 1})"
            # A few Western letters can be read in many encodings, and are nearly always of this one.
            others = self.others[:1] if self.others[:1] == ("cp1252",) else self.others
            return _not_utf8(line.encode("utf-8", "surrogateescape"), others)
        return None


def _not_utf8(line: bytes, others: Sequence[str]) -> str:
    """What is wrong with a line that is not UTF-8, and how it reads in the encodings that it may be in."""
    try:
        line.decode()
    except UnicodeDecodeError as error:
        reads = ", ".join(f"as {name} it reads {text!r}" for text, name in _readings(line, others).items())
        return f"not UTF-8 (byte 0x{line[error.start]:02x} at position {error.start + 1}){'; ' * bool(reads)}{reads}"
    raise ValueError("the line is UTF-8")


def _readings(line: bytes, others: Sequence[str]) -> dict[str, str]:
    """The first characters of a line as it can be read → the likeliest encoding that reads it so."""
    found: dict[str, str] = {}
    for name in others:
        try:
            found.setdefault(line.decode(name).strip()[:CHARACTERS], name)
        except UnicodeDecodeError:
            continue
    return found


def detect(file: IO[bytes], name: str, asked: str | None = None) -> TextEncoding:
    """Detect the encoding of a file that the user calls `name`; reads it to its end.

    Raises InvalidInput for an unknown encoding in `asked`, and for a file whose encoding is ambiguous.
    """
    if asked is not None:
        try:
            b"a".decode(asked, "replace")
        except (LookupError, UnicodeError, ValueError):
            known = "cp949, shift_jis, big5, gb18030, windows-1252, utf-16-le"
            raise InvalidInput(
                f"{asked!r} is not a known encoding ({known}, or another of Python's text encodings)."
            ) from None
        return TextEncoding(codecs.lookup(asked).name, f"{name} is read as {asked}, as asked.", clean=False)
    head = file.read(HEAD)
    for mark, encoding in MARKS:
        if head.startswith(mark):
            return _marked(encoding, name, file, head)
    if b"\0" in head and (wide := _without_mark(head, name)):
        return wide
    return _by_lines(file, head, name)


def _marked(encoding: str, name: str, file: IO[bytes], head: bytes) -> TextEncoding:
    if encoding == "utf-8-sig":
        lines = _byte_lines(file, head[len(codecs.BOM_UTF8) :], name)
        broken = list(islice((line for line in lines if not _is_utf8(line)), SAMPLE))
        return TextEncoding(encoding, clean=not broken, others=guess.encodings_of(broken))
    return TextEncoding(encoding, f"{name} is {encoding.upper()}, as its first bytes say.")


def _without_mark(head: bytes, name: str) -> TextEncoding | None:
    """UTF-16, told by newlines of two bytes, or by a NUL in most pairs; None for lines with a few NULs in them.

    Raises InvalidInput for what is no text.
    """
    even, odd = head[::2].count(0), head[1::2].count(0)
    encoding = "utf-16-be" if even > odd else "utf-16-le"
    ends = head.decode(encoding, "replace").count("\n")
    wide = 2 * ends >= head.count(b"\n") > 0 or 3 * max(even, odd) >= len(head)
    if wide and 4 * min(even, odd) <= max(even, odd) and _is(encoding, head):
        return TextEncoding(encoding, f"{name} looks like {encoding.upper()} without a byte order mark.")
    nuls = even + odd
    if nuls * 2 > len(head) or (nuls * 20 > len(head) and not _is("utf-8", head)):
        raise InvalidInput(f"{name} is not text: it has NUL bytes. If it is UTF-16 or UTF-32, say so with --encoding.")
    return None


def _is(encoding: str, head: bytes) -> bool:
    """Whether the beginning of a file can be read in an encoding; the last character may be cut."""
    try:
        codecs.getincrementaldecoder(encoding)().decode(head, final=len(head) < HEAD)
    except UnicodeDecodeError:
        return False
    return True


def _by_lines(file: IO[bytes], head: bytes, name: str) -> TextEncoding:
    """UTF-8, GB18030 or, raising InvalidInput, another encoding, by how many lines are not UTF-8."""
    lines = valid = invalid = 0
    first = 0
    sample: list[bytes] = []
    shifted = ""
    for line in _byte_lines(file, head, name):
        lines += 1
        if not shifted and _ESCAPES.search(line):
            shifted = f"{name}, line {lines}: {_SHIFTED}"
        if line.isascii():
            continue
        if _is_utf8(line):
            valid += 1
            continue
        invalid += 1
        first = first or lines
        if len(sample) < SAMPLE:
            sample.append(line)
    if shifted and not valid:
        raise InvalidInput(shifted)
    if not invalid:
        return TextEncoding("utf-8")
    others = guess.encodings_of(sample)
    if valid * 20 <= invalid:  # a few lines of an older encoding are valid UTF-8 by accident
        if guess.certainly_gb18030(b"\n".join(sample)):
            return TextEncoding("gb18030", f"{name} is not UTF-8; it is read as GB18030.", clean=False)
        if others and invalid * 5 >= lines:
            shown = _readings(sample[0], others).values()
            would_be = ", ".join(f"{other} would be {guess.LANGUAGES[other]}" for other in shown)
            raise InvalidInput(
                f"{name}, line {first}: {_not_utf8(sample[0], others)}, and {invalid:,} of {lines:,} lines are not "
                f"UTF-8. Say the encoding with --encoding; {would_be}; or another."
            )
    return TextEncoding("utf-8", clean=False, others=others)


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _byte_lines(file: IO[bytes], head: bytes, name: str) -> Iterator[bytes]:
    """Yield lines between newlines or carriage returns. Raises InvalidInput for a line that is too long."""
    rest, size, block = [b""], 0, head
    while block:
        first, *lines = block.replace(b"\r", b"\n").split(b"\n")
        rest.append(first)
        size += len(first)
        if lines:
            yield b"".join(rest)
            yield from lines[:-1]
            rest, size = [lines[-1]], len(lines[-1])
        if size > 4 * LONGEST:
            raise InvalidInput(f"{name}: more than {4 * LONGEST:,} bytes without a line end. Is it a text file?")
        block = file.read(BLOCK)
    if size:
        yield b"".join(rest)
