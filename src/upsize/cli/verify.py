"""`upsize verify`."""

from __future__ import annotations


def verify() -> None:
    """Being written."""
