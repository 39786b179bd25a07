"""Ordinary prose of any length, the same on every machine: sentences put together by a fixed generator."""

from __future__ import annotations

import random

SUBJECTS = ("The committee", "A young engineer", "Our neighbour", "The old harbour", "这座城市", "Every student")
VERBS = ("described", "rebuilt", "forgot", "measured", "photographed", "postponed", "discovered")
OBJECTS = ("the long bridge", "a quiet garden", "three broken clocks", "the history of trade", "新的计划")
ENDS = ("before winter.", "without any help.", "in spite of the rain.", "for the first time.", "每一天。")


def sentences(seed: int, count: int) -> list[str]:
    """`count` sentences; another seed gives others."""
    rng = random.Random(seed)
    return [" ".join(rng.choice(part) for part in (SUBJECTS, VERBS, OBJECTS, ENDS)) for _ in range(count)]


def prose(seed: int, words: int) -> str:
    """About so many words of it."""
    return " ".join(sentences(seed, words // 8 + 1))
