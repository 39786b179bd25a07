"""Guesses the older encoding of some lines: the likeliest candidates, and whether the lines are certainly GB18030.

charset-normalizer tells which encodings the bytes can be read in and which readings make sense. It is not asked for an
answer: it takes Japanese of ideographs alone for Korean, and Western for Central European.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LANGUAGES = {
    "cp949": "Korean",
    "cp932": "Japanese, Shift JIS",
    "euc_jp": "Japanese, EUC-JP",
    "big5": "traditional Chinese",
    "gb18030": "simplified Chinese",
    "cp1251": "Cyrillic, Windows",
    "koi8_r": "Cyrillic, KOI8-R",
    "cp866": "Cyrillic, DOS",
    "iso8859_5": "Cyrillic, ISO",
    "cp1252": "Western European, Windows",
    "cp1250": "Central European, Windows",
    "iso8859_2": "Central European, ISO",
    "cp1253": "Greek",
    "cp1254": "Turkish",
    "cp1255": "Hebrew",
    "cp1256": "Arabic",
    "cp1257": "Baltic",
    "cp1258": "Vietnamese",
    "cp874": "Thai",
    "cp850": "Western European, DOS",
    "mac_roman": "Western European, Macintosh",
}
"""Python's names of the encodings that files are found in."""
OTHER_SCRIPTS = ("cp1251", "koi8_r", "cp866", "iso8859_5", "cp1253", "cp1255", "cp1256", "cp874")
"""Of single bytes for letters that do not mix with ASCII ones within a word."""
SHOWN = 3
LOOKED_AT = 32 << 10
"""Bytes of the lines that are looked at: more change nothing, and every encoding is tried on them."""


def encodings_of(lines: Sequence[bytes]) -> tuple[str, ...]:
    """Encodings in which the lines make sense, at most `SHOWN`, the likeliest first, no two of one reading."""
    from charset_normalizer import from_bytes  # here, for it takes a while and few files need it

    taken = b"\n".join(_some(lines))
    asked = [name for name in LANGUAGES if name not in OTHER_SCRIPTS or _in_words(taken)]
    readings: dict[str, str] = {}
    for match in from_bytes(taken, cp_isolation=asked, preemptive_behaviour=False):
        for name in (n for n in asked if n in (match.encoding, *match.could_be_from_charset)):
            readings.setdefault(taken.decode(name, "replace"), name)
    found = list(readings.values())
    if "cp1250" in found and "cp1252" not in found[: found.index("cp1250")] and _decoded("cp1252", taken) is not None:
        found = [name for name in found if name != "cp1252"]
        found.insert(found.index("cp1250"), "cp1252")  # few Western lines look Central European to the library
    return tuple(found[:SHOWN])


def _in_words(lines: bytes) -> bool:
    """Whether bytes beyond ASCII make words of their own, as in Cyrillic; Western letters stand among ASCII ones."""
    runs = re.findall(rb"[\x80-\xff]+", lines)
    return sum(len(run) for run in runs if len(run) > 2) * 2 > sum(map(len, runs))


def _some(lines: Sequence[bytes]) -> list[bytes]:
    taken: list[bytes] = []
    size = 0
    for line in lines:
        size += len(line) + 1
        if size > LOOKED_AT and taken:
            break
        taken.append(line[:LOOKED_AT])
    return taken


def certainly_gb18030(lines: bytes) -> bool:
    """Whether the lines are simplified Chinese, and nothing else.

    Four fifths of the characters, as GB18030, are among GB 2312's 3,755 frequent ones or its punctuation. The frequent
    ones of Chinese begin with all bytes from B0 to D7: a third or so from C9 on, which is where Hangul in EUC-KR ends,
    and a fifth from D0 on, where the frequent ideographs of EUC-JP end. Few lines leave the question open.
    """
    text = _decoded("gb18030", lines)
    if not text or any(script(lines) for script in (_hangul, _kana, _big5)):
        return False
    codes = [c.encode("gb18030") for c in text]
    pairs = [code for code in codes if len(code) == 2 and code[1] >= 0xA1]
    ideographs = [code[0] for code in pairs if 0xB0 <= code[0] <= 0xD7]
    if len(ideographs) + sum(0xA1 <= code[0] <= 0xA3 for code in pairs) <= 0.8 * len(codes) or len(ideographs) < 8:
        return False
    late, last = (sum(byte >= start for byte in ideographs) / len(ideographs) for start in (0xC9, 0xD0))
    return late >= 0.25 and last >= 0.08


def _decoded(name: str, lines: bytes) -> str | None:
    """The characters beyond ASCII; None where bytes cannot be read."""
    try:
        return "".join(c for c in lines.decode(name) if not c.isascii())
    except UnicodeDecodeError:
        return None


def _share(text: str, *ranges: tuple[str, str]) -> float:
    return sum(any(first <= c <= last for first, last in ranges) for c in text) / len(text) if text else 0.0


def _hangul(lines: bytes) -> bool:
    """Korean is Hangul but for a few ideographs. Chinese read as Korean is half Hangul at most."""
    text = _decoded("cp949", lines)
    return text is not None and _share(text, ("가", "힣")) > 0.8


def _kana(lines: bytes) -> bool:
    """Japanese has Hiragana or Katakana in nearly every line, beside ideographs and full-width signs."""
    kana = ("\u3041", "\u30fe")
    readings = [text for name in ("cp932", "euc_jp") if (text := _decoded(name, lines)) is not None]
    return any(
        _share(text, kana) > 0.1 and _share(text, kana, ("\u3000", "\u3020"), ("一", "龥"), ("！", "～")) > 0.9
        for text in readings
    )


def _big5(lines: bytes) -> bool:
    """Traditional Chinese: nearly all characters are among the 5,401 frequent ones and the signs, rows A1 to C6.

    Read so, simplified Chinese is not: half of its characters begin with a later byte.
    """
    text = _decoded("big5", lines)
    if not text:
        return False
    first = [c.encode("big5")[0] for c in text]
    trails = [c.encode("big5")[1] for c in text]
    return sum(byte <= 0xC6 for byte in first) > 0.9 * len(first) and any(byte < 0xA1 for byte in trails)
