"""In which encoding a file is: UTF-8, UTF-16 and UTF-32 by their marks, GB18030 by what its lines say.

Nothing is guessed quietly: any other than UTF-8 is said, and a file that mixes encodings has its odd lines listed.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass
from pathlib import Path

from upsize.errors import InvalidInput

MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # before UTF-16, whose mark it begins with
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
SAMPLE = 2000
"""Lines that are not UTF-8 which are looked at for being Chinese."""


@dataclass(frozen=True)
class Encoding:
    """How a file's bytes are read."""

    name: str
    """Python's name of it."""
    note: str | None = None
    """What the user should know; None for plain UTF-8."""
    clean: bool = True
    """Whether every line can be read in it; if not, lines that cannot hold surrogates in place of their bytes."""

    @property
    def errors(self) -> str:
        """Python's handler: bytes that cannot be read become the fault of their line, where the encoding allows it."""
        return "strict" if "16" in self.name or "32" in self.name else "surrogateescape"


def detect(path: Path, name: str, asked: str | None = None) -> Encoding:
    """The encoding of a file that the user calls `name`, unless `asked`, of which InvalidInput if it is none."""
    if asked is not None:
        try:
            return Encoding(codecs.lookup(asked).name, f"{name} is read as {asked}, as asked.", clean=False)
        except LookupError:
            raise InvalidInput(f"{asked!r} is no encoding that is known (gb18030, big5, shift_jis, …).") from None
    with path.open("rb") as file:
        head = file.read(4096)
        for mark, encoding in MARKS:
            if head.startswith(mark):
                note = None if encoding == "utf-8-sig" else f"{name} is {encoding.upper()}, as its first bytes say."
                return Encoding(encoding, note)
        if b"\0" in head:
            encoding = "utf-16-be" if head[::2].count(0) > head[1::2].count(0) else "utf-16-le"
            return Encoding(encoding, f"{name} looks like {encoding.upper()} without a byte order mark.")
        file.seek(0)
        valid, invalid = 0, 0
        sample: list[bytes] = []
        for line in file:
            if line.isascii():
                continue
            try:
                line.decode()
                valid += 1
            except UnicodeDecodeError:
                invalid += 1
                if len(sample) < SAMPLE:
                    sample.append(line)
    if not invalid:
        return Encoding("utf-8")
    if valid * 20 <= invalid and _chinese(sample):  # a few lines of GB18030 are valid UTF-8 by accident
        return Encoding("gb18030", f"{name} is not UTF-8; it is read as GB18030.", clean=False)
    return Encoding("utf-8", clean=False)


def _chinese(lines: list[bytes]) -> bool:
    """Whether most characters of the lines, as GB18030, are common ones: GB 2312's first 3,755 and punctuation."""
    try:
        text = b"".join(lines).decode("gb18030")
    except UnicodeDecodeError:
        text = b"".join(lines).decode("gb18030", errors="ignore")
    written = [c.encode("gb18030") for c in text if not c.isascii()]
    common = sum(len(c) == 2 and (0xB0 <= c[0] <= 0xD7 or 0xA1 <= c[0] <= 0xA3) and c[1] >= 0xA1 for c in written)
    return common > 0.8 * len(written) > 0


def unreadable(line: str) -> str | None:
    """The fault of a line with bytes that could not be read; None if there are none."""
    place = next((i for i, c in enumerate(line) if "\udc80" <= c <= "\udcff"), None)
    if place is None:
        return None
    odd = line.encode("utf-8", "surrogateescape")
    as_chinese = f"; as GB18030 it reads {odd.decode('gb18030')[:24]!r}" if _chinese([odd]) else ""
    return f"not in the file's encoding (byte 0x{ord(line[place]) - 0xDC00:02x} at character {place + 1}{as_chinese})"
