"""Writes: the documents of a write, and the checks before it."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from upsize.errors import InvalidInput, NonFiniteVector, RequestTooLarge, TextTooLong, UpsizeError
from upsize.index.documents import Document
from upsize.index.metadata import NUL, metadata_fault
from upsize.index.vector_fields import vector_fields

LONGEST_ID = 512
"""Bytes of the longest id: every store accepts keys of this length."""


class DocumentWrite(msgspec.Struct, forbid_unknown_fields=True):
    """A document to write."""

    id: str
    text: str
    metadata: dict[str, Any] = {}


@dataclass(frozen=True)
class WriteResult:
    """Result of a write, in documents."""

    added: int
    updated: int
    unchanged: int
    pending: int = 0
    """Documents of these that are safe in the journal but not searchable yet: the store failed, see `status`."""


def check(documents: Sequence[DocumentWrite], *, keep_vectors: bool = False) -> None:
    """Raise InvalidInput for the first document that cannot be written, or that repeats an id.

    `keep_vectors` accepts vectors in metadata.
    """
    seen: dict[str, int] = {}
    for place, document in enumerate(documents):
        if fault := document_fault(document.id, document.text, document.metadata) or (
            None if keep_vectors else vectors_fault(document.metadata)
        ):
            raise InvalidInput(f"documents[{place}].{fault}", param="documents", index=place)
        if document.id in seen:
            raise InvalidInput(
                f"documents[{place}]: the id {document.id!r} is that of documents[{seen[document.id]}] too. Send one "
                "of them.",
                param="documents",
                index=place,
            )
        seen[document.id] = place


def document_fault(id: str, text: str, metadata: dict[str, Any]) -> str | None:
    """Why the journal, a store or a reply could not hold the document; None if they can."""
    if fault := id_fault(id):
        return fault
    if not text.strip():
        return "text is empty."
    if not _encodes(text):
        return "text holds half of a surrogate pair, which is not text. Repair it."
    return metadata_fault(metadata)


def id_fault(id: str) -> str | None:
    """Why an id is not allowed; None if it is."""
    if not id.strip():
        return "id is an empty string." if not id else "id is blank."
    if not _encodes(id):
        return "id holds half of a surrogate pair, which is not text."
    if len(id.encode()) > LONGEST_ID:
        return f"id is longer than {LONGEST_ID} bytes."
    if NUL in id:
        return "id holds a NUL."
    if control := next((c for c in id if unicodedata.category(c) == "Cc"), None):
        return f"id holds the control character {control!r}; leave it out."
    return None


def vectors_fault(metadata: dict[str, Any]) -> str | None:
    """Which field of the metadata holds vectors; None if none does."""
    for field, held in vector_fields(metadata).items():
        return (
            f"metadata.{field} holds a vector ({held}). An index embeds each text with its own model and takes no "
            "vectors of another: leave the field out. To keep it as plain metadata, which comes back with every hit, "
            'send "keep_vectors": true.'
        )
    return None


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def same(known: Document | None, coming: DocumentWrite) -> bool:
    """Whether the index has this document already, unchanged."""
    if known is None or known.text != coming.text or known.metadata != coming.metadata:
        return False
    # To Python 1, 1.0 and true are equal; to a filter, or a client that reads them, they are not.
    return json.dumps(known.metadata, sort_keys=True) == json.dumps(coming.metadata, sort_keys=True)


def locate_error(
    error: UpsizeError, documents: Sequence[DocumentWrite], changed: Sequence[DocumentWrite]
) -> UpsizeError:
    """What embedding `changed` raised, with the position among `documents` and the id of the text at fault."""
    index = getattr(error, "index", None)
    if isinstance(error, RequestTooLarge):
        return RequestTooLarge(str(error).replace("input", "documents", 1), param="documents")
    if index is None:
        return error
    document = changed[index]
    place = next(i for i, d in enumerate(documents) if d is document)
    if isinstance(error, TextTooLong):
        hint = f"Its id is {document.id!r}. Shorten it, or make the index with --truncate (truncate)."
        least = error.at_least
        return TextTooLong(error.tokens, error.limit, param="documents", index=place, hint=hint, at_least=least)
    if isinstance(error, NonFiniteVector):
        message = f"the index's model gives {error.found} for it in {error.precision}. Leave it out."
        return InvalidInput(f"documents[{place}] (id {document.id!r}): {message}", param="documents", index=place)
    return InvalidInput(f"documents[{place}] (id {document.id!r}): {error}", param="documents", index=place)
