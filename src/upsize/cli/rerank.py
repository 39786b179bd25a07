"""`upsize rerank`."""

from __future__ import annotations


def rerank() -> None:
    """Being written."""
