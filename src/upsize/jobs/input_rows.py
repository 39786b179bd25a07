"""Input rows: each record as a value to compute (a text, or a query with its documents) or as a row error."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Generic, NamedTuple, Protocol, TypeVar

from upsize.errors import InvalidInput
from upsize.io import TEXT, Format, Record, Source

T_co = TypeVar("T_co", covariant=True)


@dataclass(frozen=True)
class InputRow(Generic[T_co]):
    """One record as input of a job: its value, or its row error."""

    line: int
    id: str | int | None = None
    value: T_co | None = None
    row_error: str | None = None


class InputRows(Protocol[T_co]):
    """A source that is read for one kind of job."""

    @property
    def source(self) -> Source:
        """The file."""

    def settings(self) -> dict[str, str | int | None]:
        """Return the settings that shape the rows."""

    def __iter__(self) -> Iterator[InputRow[T_co]]:
        """Read the source from its beginning."""


class Pair(NamedTuple):
    """A query and the documents to score for it."""

    query: str
    documents: list[str]


@dataclass(frozen=True)
class TextRows:
    """One text per record, from the field `text_field`."""

    source: Source
    text_field: str
    id_field: str | None = None
    limit: int | None = None

    def settings(self) -> dict[str, str | int | None]:
        """Return the settings that shape the rows."""
        return {"text_field": self.text_field, "id_field": self.id_field, "limit": self.limit, **self.source.settings()}

    def __iter__(self) -> Iterator[InputRow[str]]:
        wanted = [self.text_field, *([self.id_field] if self.id_field else [])]
        for record in islice(self.source.records(wanted), self.limit):
            text = record.fields.get(self.text_field)
            row_error = record.row_error or text_error(repr(self.text_field), text) or id_error(self.id_field, record)
            id = record.fields[self.id_field] if self.id_field and not row_error else None
            yield InputRow(record.line, row_error=row_error) if row_error else InputRow(record.line, id, text)


@dataclass(frozen=True)
class PairRows:
    """One query with its documents per record, from the fields `query` and `documents`."""

    source: Source
    id_field: str | None = None
    limit: int | None = None

    def settings(self) -> dict[str, str | int | None]:
        """Return the settings that shape the rows."""
        return {"id_field": self.id_field, "limit": self.limit, **self.source.settings()}

    def __iter__(self) -> Iterator[InputRow[Pair]]:
        wanted = ["query", "documents", *([self.id_field] if self.id_field else [])]
        for record in islice(self.source.records(wanted), self.limit):
            query, documents = record.fields.get("query"), record.fields.get("documents")
            row_error = record.row_error or text_error("'query'", query) or _documents_error(documents)
            row_error = row_error or id_error(self.id_field, record)
            if row_error or query is None or documents is None:
                yield InputRow(record.line, row_error=row_error)
            else:
                id = record.fields[self.id_field] if self.id_field else None
                yield InputRow(record.line, id, Pair(query, documents))


def choose_text_field(source: Source, asked: str | None, id_field: str | None) -> str:
    """Return the field that holds the texts: the given one, or `text`, or the only field that holds text.

    Raises InvalidInput, with a list of the fields, if that is ambiguous or a field does not exist.
    """
    if source.format is Format.TEXT:
        if asked or id_field:
            raise InvalidInput(
                f"{source.name} is read as plain text, which has no fields: leave --text-field and --id-field out."
            )
        return TEXT
    columns = source.columns
    if not columns:  # no good records: the survey reports why
        return asked or TEXT
    texts = [name for name, is_text in columns.items() if is_text and name != id_field]
    chosen = asked or (TEXT if TEXT in texts else texts[0] if len(texts) == 1 else None)
    listing = f"Fields: {', '.join(columns) or 'none'}."
    if chosen is None:
        none = "no field holds text" if not texts else f"{len(texts)} fields hold text and none is called 'text'"
        raise InvalidInput(f"{source.name}: {none}. Say which with --text-field. {listing}")
    if asked is None and chosen != TEXT and source.format in (Format.CSV, Format.TSV) and _is_no_name(chosen):
        raise InvalidInput(
            f"{source.name}: the first line names the fields, and {chosen!r:.80} is no name. Put a line of names "
            f"before it. If it is one, say --text-field {chosen!r:.80}; if each line is a text, --format text."
        )
    # A JSONL record need not have every field, so a missing field is a row error.
    for name in (chosen, id_field) if source.format is not Format.JSONL else ():
        if name is not None and name not in columns:
            raise InvalidInput(f"{source.name} has no field {name!r}. {listing}")
    if source.format is Format.PARQUET and not columns[chosen]:
        raise InvalidInput(f"{source.name}: the field {chosen!r} does not hold text. {listing}")
    return chosen


def _is_no_name(field: str) -> bool:
    """Return whether the first line looks like a text rather than the name of a field."""
    ends = field.endswith((".", "?", "!", "…", "。", "？", "！", ","))
    return len(field) > 60 or len(field.split()) > 5 or ends or field.replace(".", "").replace(",", "").isdigit()


def require_pairs(source: Source, id_field: str | None) -> None:
    """InvalidInput, listing the fields, unless the source can hold queries with documents, and has them."""
    if source.format in (Format.TEXT, Format.CSV, Format.TSV):
        raise InvalidInput(
            f"{source.name} is read as {source.format}, which cannot hold a list of documents. Give JSONL or Parquet "
            f"of 'query' and 'documents', or one query and a file of documents: upsize rerank QUERY {source.name}"
        )
    if source.format is Format.PARQUET:
        columns = source.columns
        for name in ("query", "documents", id_field):
            if name is not None and name not in columns:
                raise InvalidInput(f"{source.name} has no field {name!r}. Fields: {', '.join(columns)}.")


def text_error(what: str, value: Any) -> str | None:
    """Return what is wrong with a text; None if it is valid."""
    if value is None:
        return f"no {what}"
    if not isinstance(value, str):
        return f"{what} is {'a list' if isinstance(value, list) else f'{value!r:.40}'}, not a text"
    return None if value.strip() else ("an empty text" if what == repr(TEXT) else f"{what} is empty")


def id_error(field: str | None, record: Record) -> str | None:
    """Return what is wrong with a record's id; None if it is a string or a whole number."""
    if field is None:
        return None
    value = record.fields.get(field)
    if value is None:
        return f"no {field!r}"
    if isinstance(value, bool) or not isinstance(value, str | int):
        return f"{field!r} is {value!r:.40}, neither a string nor a whole number"
    return None


def _documents_error(documents: Any) -> str | None:
    if documents is None:
        return "no 'documents'"
    if not isinstance(documents, list) or not documents:
        return "'documents' is an empty list" if documents == [] else "'documents' is not a list"
    return next((f for i, d in enumerate(documents) if (f := text_error(f"documents[{i}]", d))), None)
