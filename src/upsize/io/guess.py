"""Which older encoding some lines are in, told by the scripts that come out when they are read."""

from __future__ import annotations

import re
from dataclasses import dataclass

LANGUAGES = {
    "cp949": "Korean",
    "cp932": "Japanese, Shift JIS",
    "euc_jp": "Japanese, EUC-JP",
    "big5": "traditional Chinese",
    "gb18030": "simplified Chinese",
    "cp1251": "Cyrillic, Windows",
    "koi8_r": "Cyrillic, KOI8-R",
    "cp1252": "Western European, Windows; Central European would be cp1250",
}


@dataclass(frozen=True)
class Guess:
    """What the bytes may be. `certain`: nothing else reads as well."""

    name: str | None
    certain: bool = False


def encoding_of(lines: bytes) -> Guess:
    """The encoding of lines that are not UTF-8; a name of None where no reading makes sense."""
    for name, script in (("cp949", _hangul), ("cp932", _kana), ("euc_jp", _kana), ("big5", _big5)):
        if script(name, lines):
            return Guess(name)
    if (chinese := _chinese(lines)) is not None:
        return Guess("gb18030", chinese)
    if not _in_words(lines):
        return Guess("cp1252" if _western(lines) else None)
    cyrillic = {name: _small_cyrillic(name, lines) for name in ("cp1251", "koi8_r")}
    best = max(cyrillic, key=lambda name: cyrillic[name])
    return Guess(best if cyrillic[best] > 0.7 else None)


def _in_words(lines: bytes) -> bool:
    """Whether bytes beyond ASCII make words of their own, as in Cyrillic; Western letters stand among ASCII ones."""
    runs = re.findall(rb"[\x80-\xff]+", lines)
    return sum(len(run) for run in runs if len(run) > 2) * 2 > sum(map(len, runs))


def _decoded(name: str, lines: bytes) -> str | None:
    """The characters beyond ASCII; None where bytes cannot be read."""
    try:
        return "".join(c for c in lines.decode(name) if not c.isascii())
    except UnicodeDecodeError:
        return None


def _share(text: str, *ranges: tuple[str, str]) -> float:
    return sum(any(first <= c <= last for first, last in ranges) for c in text) / len(text) if text else 0.0


def _hangul(name: str, lines: bytes) -> bool:
    """Korean is Hangul but for a few ideographs. Chinese read as Korean is half Hangul at most."""
    text = _decoded(name, lines)
    return text is not None and _share(text, ("가", "힣")) > 0.8


def _kana(name: str, lines: bytes) -> bool:
    """Japanese has Hiragana or Katakana in nearly every line, beside ideographs and full-width signs."""
    text = _decoded(name, lines)
    if text is None:
        return False
    kana = ("\u3041", "\u30fe")
    return _share(text, kana) > 0.1 and _share(text, kana, ("\u3000", "\u3020"), ("一", "龥"), ("！", "～")) > 0.9


def _big5(name: str, lines: bytes) -> bool:
    """Traditional Chinese: nearly all characters are among the 5,401 frequent ones and the signs, rows A1 to C6.

    Read so, simplified Chinese is not: half of its characters begin with a later byte.
    """
    text = _decoded(name, lines)
    if not text:
        return False
    first = [c.encode(name)[0] for c in text]
    trails = [c.encode(name)[1] for c in text]
    return sum(byte <= 0xC6 for byte in first) > 0.9 * len(first) and any(byte < 0xA1 for byte in trails)


def _chinese(lines: bytes) -> bool | None:
    """Whether the lines are certainly simplified Chinese; None if they are certainly not.

    Four fifths of the characters, as GB18030, are among GB 2312's 3,755 frequent ones or its punctuation. The frequent
    ones of Chinese begin with all bytes from B0 to D7: a third or so from C9 on, which is where Hangul in EUC-KR ends,
    and a fifth from D0 on, where the frequent ideographs of EUC-JP end. Few lines leave the question open.
    """
    text = _decoded("gb18030", lines)
    if not text:
        return None
    codes = [c.encode("gb18030") for c in text]
    pairs = [code for code in codes if len(code) == 2 and code[1] >= 0xA1]
    ideographs = [code[0] for code in pairs if 0xB0 <= code[0] <= 0xD7]
    if len(ideographs) + sum(0xA1 <= code[0] <= 0xA3 for code in pairs) <= 0.8 * len(codes) or not ideographs:
        return None
    late, last = (sum(byte >= start for byte in ideographs) / len(ideographs) for start in (0xC9, 0xD0))
    return len(ideographs) >= 8 and late >= 0.25 and last >= 0.08


def _small_cyrillic(name: str, lines: bytes) -> float:
    """The share of small Cyrillic letters: read in the wrong one of the two, small letters become capitals."""
    text = _decoded(name, lines)
    return _share(text, ("а", "ё")) if text else 0.0


def _western(lines: bytes) -> bool:
    """Letters, and the punctuation of word processors, of which half a dozen bytes are none in Windows-1252."""
    text = _decoded("cp1252", lines)
    return text is not None and _share(text, ("À", "ÿ"), ("‘", "…"), ("¡", "¿"), ("Œ", "Ÿ"), ("€", "€")) > 0.9
