"""Real sentences in many languages, for indexes of a realistic size: SIB-200's, of the shared data."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple


class Sentence(NamedTuple):
    """One sentence."""

    id: str
    text: str
    language: str
    topic: str


def sentences(shared: Path) -> Iterator[Sentence]:
    """All sentences of all languages, each language's after the one before: 84 × 1,004. `shared` is the data folder."""
    for folder in sorted((shared / "bitext/sib200").iterdir()):
        if not folder.is_dir():
            continue
        for path in sorted(folder.glob("*.tsv")):
            with path.open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file, delimiter="\t", quoting=csv.QUOTE_NONE):
                    yield Sentence(f"{folder.name}/{row['index_id']}", row["text"], folder.name, row["category"])


def mixed(shared: Path, count: int) -> list[Sentence]:
    """`count` of them, the languages in turn."""
    every = list(sentences(shared))
    if len(every) < count:
        raise SystemExit(f"{shared} holds {len(every):,} sentences, and {count:,} are wanted.")
    languages: dict[str, list[Sentence]] = {}
    for sentence in every:
        languages.setdefault(sentence.language, []).append(sentence)
    rows = (one for turn in zip(*languages.values(), strict=False) for one in turn)
    return [one for one, _ in zip(rows, range(count), strict=False)]
