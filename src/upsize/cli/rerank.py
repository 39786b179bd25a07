"""`upsize rerank`: ranks documents by relevance, for one query or for a file of queries."""

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
from upsize.io import copy_stdin, format_of, import_pyarrow, open_input
from upsize.jobs.file_job import run
from upsize.jobs.input_rows import Pair, PairRows, TextRows, choose_text_field, require_pairs
from upsize.jobs.output_formats import Jsonl, OutputFormat, Parquet
from upsize.jobs.partial_output import Partial, refuse_existing
from upsize.jobs.survey import Survey

if TYPE_CHECKING:
    from upsize.engine import Reranker, Result

DEFAULT = "demo-rerank"
JSONL, PARQUET = ".jsonl", ".parquet"


@shared.expand_options
def rerank(
    query: Annotated[
        str,
        typer.Argument(
            help="The query. Without DOCUMENTS: a file of queries with their documents, .jsonl, .parquet, or `-`."
        ),
    ],
    documents: Annotated[
        str | None,
        typer.Argument(
            help="File of the query's documents: .txt (one per line), .jsonl, .csv, .tsv, .parquet, or `-`."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            metavar="OUTPUT",
            help="File of results: .jsonl, or .parquet for a file of queries. Default for one query: print a table.",
        ),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="For one query: print JSONL instead of the table.")] = False,
    top_n: Annotated[
        int | None, typer.Option("--top-n", "-n", min=1, help="Keep only the N best documents of each query.")
    ] = None,
    instruction: Annotated[
        str | None, typer.Option(help="Instruction, in English. Default: the model's, web search.")
    ] = None,
    model: Annotated[
        str | None,
        typer.Option(
            "--model",
            "-m",
            help="Model folder, hub id, or demo model. Default: demo-rerank.",
            rich_help_panel=shared.MODEL,
        ),
    ] = None,
    truncate: Annotated[
        bool,
        typer.Option(
            "--truncate", help="Truncate documents that are too long, and list them, instead of refusing them."
        ),
    ] = False,
    *,
    rows: shared.RowOptions,
    loading: shared.LoadingOptions,
) -> None:
    """Rank documents by their relevance to a query.

    For one query, give its text and a file of documents. For many queries, give a file in which each row has a query
    and its documents: upsize checks every row before it computes anything, and the same command resumes a run that was
    stopped, even by kill -9.

    ```
    upsize rerank "how do plants eat light?" docs.txt --top-n 5
    upsize rerank "how do plants eat light?" docs.csv --column body --json
    upsize rerank queries.jsonl -o ranked.jsonl -m Qwen/Qwen3-Reranker-0.6B
    ```

    A row of a file of queries: `{"query": "…", "documents": ["…", "…"]}`
    """
    if documents is not None and Path(query).is_file() and documents != "-" and not Path(documents).exists():
        raise typer.BadParameter(
            f"{query} is a file and {documents!r} is not: the query comes first, as in: "
            f"upsize rerank {shlex.quote(documents)} {shlex.quote(query)}",
            param_hint="QUERY DOCUMENTS",
        )
    if documents is not None and Path(query).suffix and Path(query).is_file():
        raise typer.BadParameter(
            f"{query} is a file. upsize would take its name for the query. For one query give its text; a file "
            f"of queries holds the documents of each: upsize rerank {shlex.quote(query)} -o RESULTS.jsonl",
            param_hint="QUERY DOCUMENTS",
        )
    if documents is not None and format_of(Path(query)) and " " not in query:
        typer.echo(f"Note: {query!r} is taken as the text of the query: there is no file of this name.", err=True)
    if documents is not None and output is not None:
        shared.suffix_of(output, (JSONL,))
        shared.require_other(documents, output)
        refuse_existing(output, overwrite=rows.overwrite)
    if documents is None:
        output = _output_for_many(query, output, one_query_only=json or rows.text_field is not None)
    name = shared.chosen_model(model, DEFAULT)
    arguments = loading.arguments(name, truncate=truncate)
    shared.require_unicode(instruction, "--instruction")
    if documents is not None:
        shared.require_unicode(query, "QUERY")
        with TemporaryDirectory() as folder:
            source = open_input(documents, rows.format, rows.reading, lambda: copy_stdin(Path(folder) / "stdin"))
            field = choose_text_field(source, rows.text_field, rows.id_field)
            shared.print_notes(source, field, rows.text_field)
            texts = TextRows(source, field, rows.id_field, rows.limit)
            with _reranker(arguments) as reranker:
                ranked = rank(
                    query, texts, reranker, instruction, truncate=truncate, skip_bad=rows.skip_bad, top_n=top_n
                )
        show(ranked, output, json=json)
    elif output is not None:
        with Partial(output, overwrite=rows.overwrite) as partial:
            source = open_input(query, rows.format, rows.reading, partial.spool)
            shared.print_notes(source)
            require_pairs(source, rows.id_field)
            with _reranker(arguments) as reranker:
                work = Reranking(reranker, instruction or reranker.instruction, truncate, top_n)
                pairs = PairRows(source, rows.id_field, rows.limit)
                run(pairs, work, partial, model=name, skip_bad=rows.skip_bad, checkpoint=rows.checkpoint)


def _output_for_many(query: str, output: Path | None, *, one_query_only: bool) -> Path:
    """Return the output of a file of queries. Raises typer.BadParameter for options of one query."""
    if one_query_only:
        raise typer.BadParameter("is for one query: upsize rerank QUERY DOCUMENTS.", param_hint="--json, --text-field")
    if query != "-" and not Path(query).exists():
        raise typer.BadParameter(
            f"{query!r} is not a file. For one query give its documents too: upsize rerank QUERY DOCUMENTS.",
            param_hint="QUERY",
        )
    if output is None:
        raise typer.BadParameter("a file of queries needs a file for the results.", param_hint="-o")
    if shared.suffix_of(output, (JSONL, PARQUET)) == PARQUET:
        import_pyarrow("Writing Parquet")
    shared.require_other(query, output)
    return output


def _reranker(arguments: dict[str, Any]) -> Reranker:
    # Heavy imports wait until here, so that `--help` and a wrong flag answer at once.
    from upsize.engine import Reranker

    return Reranker(**arguments)


@dataclass(frozen=True)
class Reranking:
    """Scores queries with their documents. See jobs.file_job.FileComputation."""

    reranker: Reranker
    instruction: str
    truncate: bool
    top_n: int | None
    noun: str = "queries"

    @property
    def fingerprint(self) -> Fingerprint:
        """The reranker's fingerprint."""
        return self.reranker.fingerprint

    def settings(self) -> dict[str, str | int | None]:
        """The instruction and the number of documents to keep."""
        return {"instruction": self.instruction, "top_n": self.top_n}

    def row_error(self, pair: Pair) -> str | None:
        """Say that a query, or a document with it, is too long."""
        return pair_error(self.reranker, pair, self.instruction, truncate=self.truncate)

    def size(self, pair: Pair) -> int:
        """The number of documents: each is one sequence."""
        return len(pair.documents)

    def stream(self, pairs: Iterator[Pair]) -> Iterator[Result]:
        """Score the pairs: log-odds, in order."""
        return self.reranker.stream(pairs, self.instruction)

    def columns(self, values: NDArray[np.float32]) -> dict[str, Any]:
        """The column `results`: index in the row, from 0, and score of each document, best first."""
        scores = probabilities(values)
        order = np.argsort(-values, kind="stable")[: self.top_n]
        return {"results": [{"index": int(i), "score": float(scores[i])} for i in order]}

    def encoding(self, suffix: str, found: Survey, facts: Mapping[str, Any]) -> OutputFormat:
        """The output format of a suffix: .jsonl, or .parquet with a column of results."""
        if suffix == JSONL:
            return Jsonl(self.fingerprint.id)
        return Parquet(found.ids, _results_column, facts)


def _results_column(arrow: Any) -> dict[str, Any]:
    return {"results": arrow.list_(arrow.struct([("index", arrow.int32()), ("score", arrow.float32())]))}
