"""Slices: parts of the units that are reported separately, because "stay, except for Arabic" is a possible answer."""

from __future__ import annotations

import unicodedata
from collections import Counter
from collections.abc import Sequence

import numpy as np

from upsize.evaluation.datasets import UnitMetadata
from upsize.evaluation.tasks.base import Slices

SMALLEST, SHARE = 20, 0.02
"""Units, and share of all units, that a slice needs. A smaller one shows nothing and widens the others' intervals.
Chosen."""


def slices_of(metadata: UnitMetadata, texts: Sequence[str]) -> Slices:
    """Slices by each column of the metadata, by the length of the units' texts, and by script where the language is
    unknown.

    `length=long` are texts with more characters than the median. A slice has at least 20 units and 2 % of all, and not
    all of them.
    """
    columns = dict(metadata.columns)
    if not {"language", "lang"} & set(columns):
        columns["script"] = tuple(script(text) for text in texts)
    lengths = np.array([len(text) for text in texts])
    columns["length"] = tuple("long" if longer else "short" for longer in lengths > np.median(lengths))
    least = max(SMALLEST, SHARE * len(texts))
    slices = {}
    for name, values in columns.items():
        for value, count in sorted(Counter(v for v in values if v is not None).items()):
            if least <= count < len(values):
                slices[f"{name}={value}"] = np.array([v == value for v in values])
    return slices


def script(text: str) -> str | None:
    """The Unicode script of most letters: `latin`, `cjk`, `arabic` … None for a text without letters."""
    counts = Counter(unicodedata.name(c, "?").split()[0].lower() for c in text[:200] if c.isalpha())
    return counts.most_common(1)[0][0] if counts else None
