"""`upsize rerank`: documents in order of how well they meet a query, for one query or a file of them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from upsize.cli import options as shared
from upsize.cli.ranking import pair_error, probabilities, rank, show
from upsize.fingerprint import Fingerprint
from upsize.io import ReadOptions, copy_stdin, format_of, import_pyarrow, open_input
from upsize.jobs.file_job import run
from upsize.jobs.input_rows import Pair, PairRows, TextRows, choose_text_field, require_pairs
from upsize.jobs.output_formats import Jsonl, OutputFormat, Parquet
from upsize.jobs.partial_output import Partial, refuse_existing
from upsize.jobs.survey import Survey

if TYPE_CHECKING:
    from upsize.engine import Reranker, Result

DEFAULT = "demo-rerank"
JSONL, PARQUET = ".jsonl", ".parquet"


def rerank(
    query: Annotated[str, typer.Argument(help="The query; or alone, a file of queries: .jsonl, .parquet, or `-`.")],
    documents: Annotated[
        str | None, typer.Argument(help="The query's documents: .txt (one a line), .jsonl, .csv, .parquet, or `-`.")
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUTPUT",
            help="Results: .jsonl, or for a file of queries also .parquet. Default for one query: a table.",
        ),
    ] = None,
    json: Annotated[
        bool, typer.Option("--json", help="For one query: JSONL on standard output instead of the table.")
    ] = False,
    top_n: Annotated[
        int | None, typer.Option("--top-n", "-n", min=1, help="Give only the best, at most so many a query.")
    ] = None,
    instruction: Annotated[
        str | None, typer.Option(help="The task, in English. Default: the model's, web search.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model", "-m", help="Folder, hub id, or demo name. Default: demo-rerank.", rich_help_panel=shared.MODEL
        ),
    ] = None,
    truncate: Annotated[
        bool,
        typer.Option("--truncate", help="Cut documents that are too long, and say which, instead of refusing them."),
    ] = False,
    text_field: Annotated[
        str | None,
        typer.Option(
            "--text-field",
            "--column",
            help="For one query: field that holds the documents. Default: `text`, or the only one with text.",
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
    """Rank documents by how well they meet a query.

    The documents of one query are ranked at once. A file of queries, each row with documents of its own, is worked
    off in order: checked before anything is computed, and resumed by the same command after a stop, even by kill -9.

    ```
    upsize rerank "how do plants eat light?" docs.txt --top-n 5
    upsize rerank "how do plants eat light?" docs.csv --column body --json
    upsize rerank queries.jsonl -o ranked.jsonl -m Qwen/Qwen3-Reranker-0.6B
    ```

    A row of a file of queries: `{"query": "…", "documents": ["…", "…"]}`
    """
    if documents is not None and Path(query).is_file() and documents != "-" and not Path(documents).exists():
        raise typer.BadParameter(
            f"{query} is a file and {documents!r} is none: the query comes first, as in: "
            f"upsize rerank {shlex.quote(documents)} {shlex.quote(query)}",
            param_hint="QUERY DOCUMENTS",
        )
    if documents is not None and Path(query).suffix and Path(query).is_file():
        raise typer.BadParameter(
            f"{query} is a file. Its name would be ranked for, not what it holds. For one query give its text; a file "
            f"of queries holds the documents of each: upsize rerank {shlex.quote(query)} -o RESULTS.jsonl",
            param_hint="QUERY DOCUMENTS",
        )
    if documents is not None and format_of(Path(query)) and " " not in query:
        typer.echo(f"Note: {query!r} is taken for the query's text; there is no file of this name.", err=True)
    if documents is not None and output is not None:
        shared.suffix_of(output, (JSONL,))
        shared.require_other(documents, output)
        refuse_existing(output, overwrite=overwrite)
    if documents is None:
        output = _output_for_many(query, output, one_query_only=json or text_field is not None)
    name = shared.chosen_model(model, DEFAULT)
    chosen = shared.ModelOptions(name, dtype, device, max_length, truncate, hub, revision)
    shared.require_unicode(instruction, "--instruction")
    reading = ReadOptions(encoding, delimiter)
    if documents is not None:
        shared.require_unicode(query, "QUERY")
        with TemporaryDirectory() as folder:
            source = open_input(documents, format, reading, lambda: copy_stdin(Path(folder) / "stdin"))
            field = choose_text_field(source, text_field, id_field)
            shared.print_notes(source, field, text_field)
            rows = TextRows(source, field, id_field, limit)
            with _reranker(chosen) as reranker:
                ranked = rank(query, rows, reranker, instruction, truncate=truncate, skip_bad=skip_bad, top_n=top_n)
        show(ranked, output, json=json)
    elif output is not None:
        with Partial(output, overwrite=overwrite) as partial:
            source = open_input(query, format, reading, partial.spool)
            shared.print_notes(source)
            require_pairs(source, id_field)
            with _reranker(chosen) as reranker:
                work = Reranking(reranker, instruction or reranker.instruction, truncate, top_n)
                pairs = PairRows(source, id_field, limit)
                run(pairs, work, partial, model=name, skip_bad=skip_bad, checkpoint=checkpoint)


def _output_for_many(query: str, output: Path | None, *, one_query_only: bool) -> Path:
    """The output of a file of queries; wrong usage where an option or argument does not go with one."""
    if one_query_only:
        raise typer.BadParameter("is for one query: upsize rerank QUERY DOCUMENTS.", param_hint="--json, --text-field")
    if query != "-" and not Path(query).exists():
        raise typer.BadParameter(
            f"{query!r} is no file. For one query give its documents too: upsize rerank QUERY DOCUMENTS.",
            param_hint="QUERY",
        )
    if output is None:
        raise typer.BadParameter("a file of queries needs a file for the results.", param_hint="-o")
    if shared.suffix_of(output, (JSONL, PARQUET)) == PARQUET:
        import_pyarrow("Writing Parquet")
    shared.require_other(query, output)
    return output


def _reranker(chosen: shared.ModelOptions) -> Reranker:
    # Heavy imports wait until here, so that `--help` and a wrong flag answer at once.
    from upsize.engine import Reranker

    return Reranker(**chosen.arguments())


@dataclass(frozen=True)
class Reranking:
    """Queries with their documents to scores."""

    reranker: Reranker
    instruction: str
    truncate: bool
    top_n: int | None
    noun: str = "queries"

    @property
    def fingerprint(self) -> Fingerprint:
        """What shaped the scores."""
        return self.reranker.fingerprint

    def settings(self) -> dict[str, str | int | None]:
        """The task, and how many documents are given."""
        return {"instruction": self.instruction, "top_n": self.top_n}

    def row_error(self, pair: Pair) -> str | None:
        """A query, or a document with it, that is too long."""
        return pair_error(self.reranker, pair, self.instruction, truncate=self.truncate)

    def size(self, pair: Pair) -> int:
        """One sequence a document."""
        return len(pair.documents)

    def stream(self, pairs: Iterator[Pair]) -> Iterator[Result]:
        """Log-odds."""
        return self.reranker.stream(pairs, self.instruction)

    def columns(self, values: NDArray[np.float32]) -> dict[str, Any]:
        """The places of the documents in the row, from 0, and their scores, best first."""
        scores = probabilities(values)
        order = np.argsort(-values, kind="stable")[: self.top_n]
        return {"results": [{"index": int(i), "score": float(scores[i])} for i in order]}

    def encoding(self, suffix: str, found: Survey, facts: Mapping[str, Any]) -> OutputFormat:
        """Lines, or a table with a column of results."""
        if suffix == JSONL:
            return Jsonl(self.fingerprint.id)
        return Parquet(found.ids, _results_column, facts)


def _results_column(arrow: Any) -> dict[str, Any]:
    return {"results": arrow.list_(arrow.struct([("index", arrow.int32()), ("score", arrow.float32())]))}
