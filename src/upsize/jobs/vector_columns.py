"""Leaves out the fields of a file of documents that hold vectors, and names them in a warning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from upsize.index.vector_fields import vector_fields
from upsize.index.writes import document_fault
from upsize.io import Source
from upsize.jobs.document_rows import DocumentRows, FileDocument
from upsize.jobs.input_rows import InputRow


@dataclass(frozen=True)
class WithoutVectors:
    """Documents of a file without the fields that hold another model's vectors, except those in `keep`."""

    rows: DocumentRows
    keep: Sequence[str] = ()
    left_out: dict[str, str] = field(default_factory=dict)
    """Field → what it holds, for the fields left out so far."""

    @property
    def source(self) -> Source:
        """The file."""
        return self.rows.source

    def settings(self) -> dict[str, str | int | None]:
        """How it is read."""
        return self.rows.settings()

    def __iter__(self) -> Iterator[InputRow[FileDocument]]:
        for row in self.rows:
            if row.value is None:
                yield row
                continue
            held = {name: what for name, what in vector_fields(row.value.metadata).items() if name not in self.keep}
            for name, what in held.items():
                self.left_out.setdefault(name, what)
            metadata = {name: value for name, value in row.value.metadata.items() if name not in held}
            yield InputRow(row.line, row.id, row.value._replace(metadata=metadata))

    def warning(self, model: str) -> str | None:
        """Return a warning about the fields left out; None if there are none. `model` is the index's model."""
        if not self.left_out:
            return None
        fields = ", ".join(f"{name!r} ({what})" for name, what in self.left_out.items())
        option = " ".join(f"--keep {name}" for name in self.left_out)
        return (
            f"Left out of the metadata, because they hold vectors: {fields}. Vectors of two models cannot be compared, "
            f"so upsize drops them and embeds every text with {model}. To keep a field as plain metadata, "
            f"which comes back with every hit: {option}"
        )


def document_error(document: FileDocument) -> str | None:
    """Return why an index would refuse a document; None if it would not. For a survey."""
    return document_fault(document.id, document.text, document.metadata)
