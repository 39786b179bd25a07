"""The embedded models: tiny checkpoints of the family's architecture, trained by this project.

They are ordinary model folders, read by the same code as the real ones; each has its card beside it. They are here so
that everything works, and can be tested, with nothing downloaded.
"""

from __future__ import annotations

from pathlib import Path

_MODELS = Path(__file__).parent / "models"

NAMES: tuple[str, ...] = tuple(sorted(p.name for p in _MODELS.glob("*") if (p / "config.json").exists()))


def folder(name: str) -> Path:
    """The model folder of a name in NAMES."""
    return _MODELS / name
