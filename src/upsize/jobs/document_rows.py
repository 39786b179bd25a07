"""Documents of a file for an index: id, text and metadata."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, NamedTuple

from upsize.io import TEXT, Format, Record, Source
from upsize.jobs.input_rows import InputRow, id_error, text_error

ID_FIELDS = ("id", "_id")
TITLE = "title"


class FileDocument(NamedTuple):
    """One document."""

    id: str
    text: str
    metadata: dict[str, Any]


def choose_id_field(source: Source, asked: str | None) -> str | None:
    """Return the field that holds the ids: the given one, `id` or `_id`; None if there is none of these."""
    if asked or source.format is Format.TEXT:
        return asked
    return next((name for name in ID_FIELDS if name in source.columns), None)


@dataclass(frozen=True)
class DocumentRows:
    """One document per record. A title goes before the text, as in BEIR and MTEB; every other field is metadata.

    Without an id field the id is 16 hexadecimal digits of the SHA-256 of the text, so that adding a file twice writes
    the same documents.
    """

    source: Source
    text_field: str
    id_field: str | None = None
    limit: int | None = None

    def settings(self) -> dict[str, str | int | None]:
        """How the source is read."""
        return {"text_field": self.text_field, "id_field": self.id_field, "limit": self.limit, **self.source.settings()}

    def __iter__(self) -> Iterator[InputRow[FileDocument]]:
        for record in islice(self.source.records(), self.limit):
            row_error = record.row_error or id_error(self.id_field, record)
            row_error = row_error or text_error(repr(self.text_field), record.fields.get(self.text_field))
            if row_error:
                yield InputRow(record.line, row_error=row_error)
            else:
                document = self._document(record)
                yield InputRow(record.line, document.id, document)

    def _document(self, record: Record) -> FileDocument:
        text = record.fields[self.text_field]
        title = record.fields.get(TITLE)
        if self.text_field == TEXT and isinstance(title, str) and title.strip():
            text = f"{title} {text}"
        text = text.strip()
        id = str(record.fields[self.id_field]) if self.id_field else hashlib.sha256(text.encode()).hexdigest()[:16]
        left = (self.text_field, self.id_field)
        return FileDocument(id, text, {k: v for k, v in record.fields.items() if k not in left and v is not None})
