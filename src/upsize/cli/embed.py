"""`upsize embed`: a file of texts into a file of vectors."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from upsize.cli import options as shared
from upsize.fingerprint import Fingerprint
from upsize.io import ReadOptions, import_pyarrow, open_input
from upsize.jobs.file_job import run
from upsize.jobs.input_rows import TextRows, choose_text_field
from upsize.jobs.output_formats import Jsonl, Npy, OutputFormat, Parquet
from upsize.jobs.partial_output import Partial
from upsize.jobs.survey import Survey, too_long

if TYPE_CHECKING:
    from upsize.engine import Embedder, Result
    from upsize.engine.embedder import InputType

DEFAULT = "demo-m"
NPY, JSONL, PARQUET = ".npy", ".jsonl", ".parquet"


def embed(
    input: Annotated[  # noqa: A002 (the argument's name)
        str,
        typer.Argument(
            metavar="INPUT", help="File of texts: .txt (one a line), .jsonl, .csv, .parquet; `-` for standard input."
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUTPUT",
            help="Vectors: .npy, .jsonl or .parquet. Beside it comes OUTPUT.json, with the fingerprint.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Folder, hub id, or demo name. Default: demo-m.", rich_help_panel=shared.MODEL
        ),
    ] = None,
    query: Annotated[
        bool | None,
        typer.Option(
            "--query/--document",
            help="Embed queries, with the model's instruction, or documents, as they are. Default: documents.",
        ),
    ] = None,
    instruction: Annotated[str | None, typer.Option(help="The task, in English; embeds queries with it.")] = None,
    dim: Annotated[
        int | None, typer.Option(help="Dimension of the vectors, 32 up to the model's. Default: the model's.")
    ] = None,
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Cut texts that are too long, and say which, instead of refusing them.")
    ] = False,
    text_field: Annotated[
        str | None,
        typer.Option(
            "--text-field",
            "--column",
            help="Field that holds the texts. Default: `text`, or the only one with text.",
            rich_help_panel=shared.ROWS,
        ),
    ] = None,
    id_field: shared.IdField = None,
    format: shared.FormatOption = None,  # noqa: A002 (the option's name)
    encoding: shared.EncodingOption = None,
    delimiter: shared.DelimiterOption = None,
    limit: shared.Limit = None,
    skip_bad: shared.SkipBad = False,
    overwrite: shared.Overwrite = False,
    checkpoint: shared.Checkpoint = 5.0,
    dtype: shared.Dtype = "auto",
    device: shared.Device = "auto",
    max_length: shared.MaxLength = None,
    hub: shared.HubOption = None,
    revision: shared.Revision = None,
) -> None:
    """Embed a file of texts.

    Every row is checked before anything is computed. A run that was stopped, even by kill -9, goes on where it was
    when the same command is given again; the output appears when it is complete.

    ```
    upsize embed docs.txt -o docs.npy                 # documents, the demo model
    upsize embed queries.csv -o queries.npy --query --dim 128 --column question
    upsize embed docs.jsonl -o docs.parquet -m Qwen/Qwen3-Embedding-0.6B --id-field id
    cut -f 2 pairs.tsv | upsize embed - -o pairs.jsonl \\
        --instruction "Retrieve semantically similar text"
    ```
    """
    suffix = shared.suffix_of(output, (NPY, JSONL, PARQUET))
    shared.require_other(input, output)
    shared.require_unicode(instruction, "--instruction")
    if instruction and query is False:
        raise typer.BadParameter(
            "documents are embedded as they are; leave one out.", param_hint="--document, --instruction"
        )
    if id_field and suffix == NPY:
        raise typer.BadParameter("a .npy file has no place for ids: write .jsonl or .parquet.", param_hint="--id-field")
    if suffix == PARQUET:
        import_pyarrow("Writing Parquet")
    name = shared.chosen_model(model, DEFAULT)
    with Partial(output, overwrite=overwrite) as partial:
        source = open_input(input, format, ReadOptions(encoding, delimiter), partial.spool)
        field = choose_text_field(source, text_field, id_field)
        shared.print_notes(source, field, text_field)
        rows = TextRows(source, field, id_field, limit)
        # Heavy imports wait until here, so that `--help` and a wrong flag answer at once.
        from upsize.engine import Embedder
        from upsize.model import check_dimension

        arguments = shared.ModelOptions(name, dtype, device, max_length, truncate, hub, revision).arguments()
        with Embedder(**arguments) as embedder:
            dimension = check_dimension(dim, embedder.dimension)
            input_type: InputType = "query" if query or instruction else "document"
            work = Embedding(embedder, input_type, instruction, dimension, truncate)
            run(rows, work, partial, model=name, skip_bad=skip_bad, checkpoint=checkpoint)


@dataclass(frozen=True)
class Embedding:
    """Texts to vectors."""

    embedder: Embedder
    input_type: InputType
    instruction: str | None
    dimension: int
    truncate: bool
    noun: str = "texts"

    @property
    def fingerprint(self) -> Fingerprint:
        """The space of the vectors."""
        return self.embedder.fingerprint.at(self.dimension)

    @cached_property
    def prefix(self) -> str:
        """What is put before each text."""
        return self.embedder.prefix(self.input_type, self.instruction)

    def settings(self) -> dict[str, str | int | None]:
        """The side of a retrieval that the texts are on, and what is put before each."""
        return {"input_type": self.input_type, "prefix": self.prefix}

    def row_error(self, text: str) -> str | None:
        """A text that is too long. Only one with more bytes than the model takes tokens need be tokenised to know."""
        limit = self.embedder.max_length
        if self.truncate or len(text.encode()) + len(self.prefix.encode()) < limit:
            return None
        (tokens,) = self.embedder.count_tokens([text], self.input_type, instruction=self.instruction)
        return too_long(tokens, limit) if tokens > limit else None

    def size(self, _: str) -> int:
        """One sequence a text."""
        return 1

    def stream(self, texts: Iterator[str]) -> Iterator[Result]:
        """Vectors."""
        return self.embedder.stream(texts, self.input_type, instruction=self.instruction, dim=self.dimension)

    def columns(self, values: NDArray[np.float32]) -> dict[str, Any]:
        """The vector."""
        return {"embedding": values[0]}

    def encoding(self, suffix: str, found: Survey, facts: Mapping[str, Any]) -> OutputFormat:
        """A matrix, lines, or a table with a column of vectors."""
        if suffix == NPY:
            return Npy(found.rows, self.dimension)
        if suffix == JSONL:
            return Jsonl(self.fingerprint.id)
        return Parquet(found.ids, lambda arrow: {"embedding": arrow.list_(arrow.float32(), self.dimension)}, facts)
