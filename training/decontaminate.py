"""Finds training texts that are the same as, or nearly the same as, a text of the evaluation data.

Exact: equal after normalisation (NFKC, lower case, letters and digits only). Near: MinHash over character 4-grams of
the normalised text (Broder 1997), candidates from 8 bands of 4 hashes, then true Jaccard similarity of at least 0.7.
A long text is also looked up sentence by sentence, so that a passage that holds an evaluation sentence is found.
"""

import re
import unicodedata
from collections import defaultdict

import numpy as np

BANDS, ROWS = 8, 4
GRAM, THRESHOLD = 4, 0.7
SHORTEST = 8  # normalised characters below which only exact equality counts; below 4 nothing does


def normalise(text: str) -> str:
    """Letters and digits of the text in lower case."""
    return "".join(c for c in unicodedata.normalize("NFKC", text).lower() if c.isalnum())


def sentences(text: str) -> list[str]:
    """The sentences of a text that are long enough to be told apart, empty when it has only one."""
    parts = [part for part in re.split(r"(?<=[.!?])\s+|(?<=[。！？；])", text) if len(normalise(part)) >= 2 * SHORTEST]
    return parts if len(parts) > 1 else []


def grams(text: str) -> set[str]:
    """Character 4-grams of a normalised text."""
    return {text[i : i + GRAM] for i in range(len(text) - GRAM + 1)}


def min_hashes(texts: list[str]) -> np.ndarray:
    """MinHash signatures (len(texts), BANDS * ROWS) of normalised texts of at least GRAM characters."""
    codes = np.frombuffer("".join(texts).encode("utf-32-le"), dtype=np.uint32).astype(np.uint64)
    lengths = np.array([len(text) for text in texts])
    starts = np.concatenate([[0], np.cumsum(lengths)[:-1]])
    mixed = np.zeros(len(codes) - GRAM + 1, dtype=np.uint64)
    for offset in range(GRAM):
        mixed = mixed * np.uint64(1000003) + codes[offset : offset + len(mixed)]
    inside = np.ones(len(codes), dtype=bool)  # grams that cross into the next text do not count
    for offset in range(1, GRAM):
        inside[starts + lengths - offset] = False
    first = np.searchsorted(np.flatnonzero(inside), starts)
    mixed = mixed[inside[: len(mixed)]]
    generator = np.random.default_rng(1)
    signature = np.empty((len(texts), BANDS * ROWS), dtype=np.uint32)
    for column in range(BANDS * ROWS):
        factor = np.uint64(generator.integers(1, 2**62) * 2 + 1)
        hashed = ((mixed ^ (mixed >> np.uint64(29))) * factor) >> np.uint64(32)
        signature[:, column] = np.minimum.reduceat(hashed.astype(np.uint32), first)
    return signature


class Decontaminator:
    """Looks training texts up among evaluation texts."""

    def __init__(self, held_out: list[str]) -> None:
        normal = {normalise(text) for text in held_out}
        self.exact = {text for text in normal if len(text) >= GRAM}
        self.texts = sorted(text for text in self.exact if len(text) >= SHORTEST)
        signatures = min_hashes(self.texts)
        self.tables: list[dict[bytes, list[int]]] = []
        for band in range(BANDS):
            table: dict[bytes, list[int]] = defaultdict(list)
            for index, key in enumerate(band_keys(signatures, band)):
                table[key].append(index)
            self.tables.append(dict(table))

    def overlapping(self, texts: list[str]) -> dict[str, str]:
        """The given texts that overlap, each with "exact" or "near"."""
        units = [(text, unit) for text in texts for unit in (text, *sentences(text))]
        normal = [normalise(unit) for _, unit in units]
        found: dict[str, str] = {}
        fuzzy: list[int] = []
        for index, text in enumerate(normal):
            if text in self.exact:
                found[units[index][0]] = "exact"
            elif len(text) >= SHORTEST:
                fuzzy.append(index)
        for start in range(0, len(fuzzy), 200_000):
            part = fuzzy[start : start + 200_000]
            signatures = min_hashes([normal[i] for i in part])
            candidates: list[set[int]] = [set() for _ in part]
            for band in range(BANDS):
                for position, key in enumerate(band_keys(signatures, band)):
                    candidates[position].update(self.tables[band].get(key, ())[:200])
            for position, index in enumerate(part):
                if candidates[position] and units[index][0] not in found:
                    ours = grams(normal[index])
                    if any(jaccard(ours, grams(self.texts[other])) >= THRESHOLD for other in candidates[position]):
                        found[units[index][0]] = "near"
        return found


def band_keys(signatures: np.ndarray, band: int) -> list[bytes]:
    """The bytes of one band of every signature."""
    part = np.ascontiguousarray(signatures[:, band * ROWS : (band + 1) * ROWS])
    return [row.tobytes() for row in part]


def jaccard(a: set[str], b: set[str]) -> float:
    """Size of the intersection over size of the union."""
    return len(a & b) / len(a | b)
