"""`upsize embed`."""

from __future__ import annotations


def embed() -> None:
    """Being written."""
