"""`upsize embed`: embeds a file of texts into a file of vectors."""

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
from upsize.io import import_pyarrow, open_input
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


@shared.expand_options
def embed(
    input: Annotated[  # noqa: A002 (the argument's name)
        str,
        typer.Argument(
            metavar="INPUT",
            help="File of texts: .txt (one per line), .jsonl, .csv, .tsv, .parquet; `-` reads standard input.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="OUTPUT",
            help="File of vectors: .npy, .jsonl or .parquet. OUTPUT.json beside it holds the fingerprint.",
        ),
    ],
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Model folder, hub id, or demo model. Default: demo-m.", rich_help_panel=shared.MODEL
        ),
    ] = None,
    query: Annotated[
        bool | None,
        typer.Option(
            "--query/--document",
            help="Embed queries with the model's instruction, or documents without one. Default: documents.",
        ),
    ] = None,
    instruction: Annotated[
        str | None, typer.Option(help="Instruction for queries, in English. Implies --query.")
    ] = None,
    dim: Annotated[
        int | None, typer.Option(help="Dimension of the vectors, from 32 to the model's. Default: the model's.")
    ] = None,
    truncate: Annotated[
        bool,
        typer.Option("--truncate", help="Truncate texts that are too long, and list them, instead of refusing them."),
    ] = False,
    *,
    rows: shared.RowOptions,
    loading: shared.LoadingOptions,
) -> None:
    """Embed a file of texts.

    The command checks every row before it computes anything. The same command resumes a run that was stopped, even by
    kill -9. The output file appears when it is complete.

    ```
    upsize embed docs.txt -o docs.npy                 # documents, with the demo model
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
            "documents take no instruction: leave one of the two out.", param_hint="--document, --instruction"
        )
    if rows.id_field and suffix == NPY:
        raise typer.BadParameter("a .npy file cannot hold ids: write .jsonl or .parquet.", param_hint="--id-field")
    if suffix == PARQUET:
        import_pyarrow("Writing Parquet")
    name = shared.chosen_model(model, DEFAULT)
    with Partial(output, overwrite=rows.overwrite) as partial:
        source = open_input(input, rows.format, rows.reading, partial.spool)
        field = choose_text_field(source, rows.text_field, rows.id_field)
        shared.print_notes(source, field, rows.text_field)
        texts = TextRows(source, field, rows.id_field, rows.limit)
        # Heavy imports wait until here, so that `--help` and a wrong flag answer at once.
        from upsize.engine import Embedder
        from upsize.model import check_dimension

        with Embedder(**loading.arguments(name, truncate=truncate)) as embedder:
            dimension = check_dimension(dim, embedder.dimension)
            input_type: InputType = "query" if query or instruction else "document"
            work = Embedding(embedder, input_type, instruction, dimension, truncate)
            run(texts, work, partial, model=name, skip_bad=rows.skip_bad, checkpoint=rows.checkpoint)


@dataclass(frozen=True)
class Embedding:
    """Embeds texts. See jobs.file_job.FileComputation."""

    embedder: Embedder
    input_type: InputType
    instruction: str | None
    dimension: int
    truncate: bool
    noun: str = "texts"

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the vectors, at their dimension."""
        return self.embedder.fingerprint.at(self.dimension)

    @cached_property
    def prefix(self) -> str:
        """The instruction before each text; empty for documents."""
        return self.embedder.prefix(self.input_type, self.instruction)

    def settings(self) -> dict[str, str | int | None]:
        """The input type and the prefix, which shape the vectors."""
        return {"input_type": self.input_type, "prefix": self.prefix}

    def row_error(self, text: str) -> str | None:
        """Say that a text is too long. A text of fewer bytes than the model takes tokens is never tokenised for it."""
        limit = self.embedder.max_length
        if self.truncate or len(text.encode()) + len(self.prefix.encode()) < limit:
            return None
        (tokens,) = self.embedder.count_tokens([text], self.input_type, instruction=self.instruction)
        return too_long(tokens, limit) if tokens > limit else None

    def size(self, _: str) -> int:
        """1: each text is one sequence."""
        return 1

    def stream(self, texts: Iterator[str]) -> Iterator[Result]:
        """Embed the texts; results come in order."""
        return self.embedder.stream(texts, self.input_type, instruction=self.instruction, dim=self.dimension)

    def columns(self, values: NDArray[np.float32]) -> dict[str, Any]:
        """The column `embedding`: the text's vector."""
        return {"embedding": values[0]}

    def encoding(self, suffix: str, found: Survey, facts: Mapping[str, Any]) -> OutputFormat:
        """The output format of a suffix: .npy, .jsonl, or .parquet with a column of vectors."""
        if suffix == NPY:
            return Npy(found.rows, self.dimension)
        if suffix == JSONL:
            return Jsonl(self.fingerprint.id)
        return Parquet(found.ids, lambda arrow: {"embedding": arrow.list_(arrow.float32(), self.dimension)}, facts)
