"""The embedded family: tiny checkpoints of the family's architecture, trained by this project, and a hundred texts.

The models are ordinary folders, read by the same code as the real ones; each has its card beside it. They are here so
that everything works, and can be tested, with nothing downloaded.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

_HERE = Path(__file__).parent
_MODELS = _HERE / "models"

NAMES: tuple[str, ...] = tuple(sorted(p.name for p in _MODELS.glob("*") if (p / "config.json").exists()))


@dataclass(frozen=True)
class Text:
    """A short text to search in, written for this package."""

    id: str
    lang: str
    """`en` or `zh`."""
    text: str


def folder(name: str) -> Path:
    """The model folder of a name in NAMES."""
    return _MODELS / name


def corpus() -> list[Text]:
    """Fifty English and fifty Chinese texts: science, everyday life, service, code, news."""
    with (_HERE / "corpus.jsonl").open(encoding="utf-8") as lines:
        return [Text(**json.loads(line)) for line in lines]
