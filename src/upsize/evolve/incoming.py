"""Documents that are to be written: what they hold, and what is wrong with one that cannot be."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from upsize.errors import InvalidInput
from upsize.evolve.documents import Document

LONGEST_ID = 512
"""Bytes: what every store takes as a key."""
NUL = "\0"
"""Which PostgreSQL has no place for."""


class Incoming(msgspec.Struct, forbid_unknown_fields=True):
    """A document to write."""

    id: str
    text: str
    metadata: dict[str, Any] = {}


@dataclass(frozen=True)
class Written:
    """What became of a write."""

    added: int
    updated: int
    unchanged: int
    pending: int = 0
    """Of them, safe in the journal and not yet where searches look: the store failed, which `status` tells."""


def check(documents: Sequence[Incoming]) -> None:
    """InvalidInput for the first that cannot be written, or whose id another has."""
    seen: dict[str, int] = {}
    for place, document in enumerate(documents):
        if told := _fault(document):
            raise InvalidInput(f"documents[{place}].{told}", param="documents", index=place)
        if document.id in seen:
            raise InvalidInput(
                f"documents[{place}]: the id {document.id!r} is that of documents[{seen[document.id]}] too. Send one "
                "of them.",
                param="documents",
                index=place,
            )
        seen[document.id] = place


def _fault(document: Incoming) -> str | None:
    """What is wrong with a document alone: what the journal or a store could not keep."""
    if not document.id:
        return "id is an empty string."
    if len(document.id.encode()) > LONGEST_ID or NUL in document.id:
        return f"id is longer than {LONGEST_ID} bytes, or holds a NUL."
    if not document.text.strip():
        return "text is empty."
    for name, value in document.metadata.items():
        if NUL in name or (isinstance(value, str) and NUL in value):
            return f"metadata.{name!r} holds a NUL."
        if isinstance(value, float) and not math.isfinite(value):
            return f"metadata.{name} is {value}; give a finite number."
    try:
        msgspec.msgpack.encode(document.metadata)
    except OverflowError:
        return "metadata holds a whole number of more than 64 bits. Send it as a string."
    return None


def same(known: Document | None, coming: Incoming) -> bool:
    """Whether it is there already, as it is."""
    return known is not None and known.text == coming.text and known.metadata == coming.metadata
