"""`upsize index …`: make, fill, search and remove indexes."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator, Set
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from upsize.cli import options as shared
from upsize.cli.backup import backup, restore
from upsize.cli.console import print_table, results
from upsize.cli.filters import compares_numbers, filter_of
from upsize.cli.index_client import ApiKey, AsJson, BaseUrl, CallFailed, IndexClient, Name, calls, print_json
from upsize.cli.ladder import ladder
from upsize.io import ReadOptions, copy_stdin, open_input
from upsize.jobs.document_rows import DocumentRows, FileDocument, choose_id_field
from upsize.jobs.input_rows import choose_text_field
from upsize.jobs.survey import listing, survey
from upsize.jobs.vector_columns import WithoutVectors, document_error
from upsize.progress import ProgressBar

app = typer.Typer(
    help="Indexes of texts: write, search, and later move to a larger model (`upsize evolve`).",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

app.command()(ladder)
app.command()(backup)
app.command()(restore)

CALL, CALL_CHARACTERS = 256, 1 << 20
"""Documents and characters of one request at most."""


@app.command()
def create(
    name: Name,
    model: Annotated[
        str | None, typer.Option("--model", "-m", help="Folder, hub id, or demo name. Default: demo-m.")
    ] = None,
    dim: Annotated[int | None, typer.Option(help="Dimension of the vectors. Default: the model's.")] = None,
    coarse: Annotated[int | None, typer.Option(help="Also keep vectors cut to this dimension, for a funnel.")] = None,
    dtype: shared.Dtype = "auto",
    max_length: shared.MaxLength = None,
    store: Annotated[
        str,
        typer.Option(help="lancedb, postgresql://user@host/database, qdrant, or a Qdrant server's http:// address."),
    ] = "lancedb",
    truncate: Annotated[
        bool, typer.Option("--truncate", help="Truncate documents that are too long instead of refusing them.")
    ] = False,
    instruction: Annotated[
        str | None, typer.Option(help="Instruction of the queries (their task), in English. Default: the model's.")
    ] = None,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Make an index.

    ```
    upsize index create docs --model demo-xs
    upsize index create docs -m Qwen/Qwen3-Embedding-0.6B --dim 512 --coarse 64
    upsize index create docs -m demo-m --store postgresql://me@localhost/texts
    ```
    """
    body = {
        "name": name,
        "model": shared.from_here(shared.chosen_model(model, "demo-m"), base_url),
        "dimension": dim,
        "coarse": coarse,
        "dtype": dtype,
        "max_length": max_length,
        "store": store,
        "truncate": truncate,
        "instruction": instruction,
    }
    with calls(base_url, api_key) as call:
        status = call("POST", "/v1/indexes", body)
    if json:
        print_json(status)
        return
    made = status["generations"][0]
    typer.echo(
        f"{name}: {made['model']}, {made['dimension']} dimensions, {status['store']}. "
        f"Add texts: upsize index add {name} FILE"
    )


@app.command()
def add(
    name: Name,
    input: Annotated[  # noqa: A002 (the argument's name)
        str,
        typer.Argument(
            metavar="FILE", help=".jsonl, .csv, .parquet, or .txt (a document a line); `-` for standard input."
        ),
    ],
    text_field: Annotated[
        str | None,
        typer.Option(help="Field that holds the texts. Default: `text`, or the only field with text."),
    ] = None,
    id_field: Annotated[
        str | None,
        typer.Option(help="Field that holds the ids. Default: `id` or `_id`; without one, a digest of the text."),
    ] = None,
    keep: Annotated[
        list[str] | None,
        typer.Option(metavar="FIELD", help="Keep this field as metadata even if it holds vectors. May be repeated."),
    ] = None,
    format: shared.FormatOption = None,  # noqa: A002 (the option's name)
    encoding: shared.EncodingOption = None,
    delimiter: shared.DelimiterOption = None,
    limit: shared.Limit = None,
    skip_bad: shared.SkipBad = False,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Write the documents of a file: add new ones, replace changed ones, skip unchanged ones.

    Every row is checked first. Fields beside id and text become metadata, for filters. Fields that hold vectors of
    another model are left out and named. To continue after a stop, run the same command again: it embeds no unchanged
    document twice.

    ```
    upsize index add docs corpus.jsonl
    upsize index add docs products.csv --text-field description --id-field sku
    ```
    """
    if Path(name).is_file() and not Path(input).exists():
        raise typer.BadParameter(
            f"{name} is a file: the name of the index comes first, as in: upsize index add {input} {name}",
            param_hint="NAME",
        )
    with tempfile.TemporaryDirectory() as folder:
        source = open_input(input, format, ReadOptions(encoding, delimiter), lambda: copy_stdin(Path(folder) / "stdin"))
        id_field = choose_id_field(source, id_field)
        field = choose_text_field(source, text_field, id_field)
        shared.print_notes(source, field, text_field, with_title=True)
        rows = WithoutVectors(DocumentRows(source, field, id_field, limit), keep or ())
        found = survey(rows, document_error, skip_bad=skip_bad)
        if found.skipped:
            typer.echo(f"Left out {len(found.skipped):,} rows:\n{listing(source, found.skipped)}", err=True)
        if id_field is None:
            typer.echo("No id field: the id of each document is a digest of its text.", err=True)
        total = {"added": 0, "updated": 0, "unchanged": 0, "pending": 0}
        with calls(base_url, api_key) as call, ProgressBar("adding", total=found.rows, unit="texts") as bar:
            if rows.left_out:
                reply = call("GET", f"/v1/indexes/{name}")
                active = next(g["model"] for g in reply["generations"] if g["id"] == reply["active"])
                bar.say(str(rows.warning(active)))
            for batch in _batches(rows, set(found.skipped)):
                reply = _write(call, name, batch, keep_vectors=bool(keep), skip_bad=skip_bad)
                for what, number in reply.items():
                    total[what] += number
                bar.update(len(batch))
    if json:
        print_json(total)
    else:
        typer.echo(", ".join(f"{number:,} {what}" for what, number in total.items() if what != "pending" or number))
        if total["pending"]:
            typer.echo(
                f"{total['pending']:,} are safe on disk; searches find them once the store works: upsize index status",
                err=True,
            )


def _write(
    call: IndexClient, name: str, batch: list[FileDocument], *, keep_vectors: bool, skip_bad: bool
) -> dict[str, int]:
    """Write one batch. With `skip_bad`, documents that the index's model cannot embed are left out and named."""
    left = list(batch)
    while left:
        body = {"documents": [d._asdict() for d in left], "keep_vectors": keep_vectors}
        try:
            reply: dict[str, int] = call("POST", f"/v1/indexes/{name}/documents", body)
        except CallFailed as error:
            if not skip_bad or error.index is None:
                raise
            typer.echo(f"Left out: {error}", err=True)
            del left[error.index]
        else:
            return reply
    return {}


def _batches(rows: WithoutVectors, skipped: Set[int]) -> Iterator[list[FileDocument]]:
    """Batches of one request each, without the skipped lines. A document whose id is in the batch already starts the
    next batch."""
    batch: dict[str, FileDocument] = {}
    characters = 0
    for row in rows:
        if row.value is None or row.line in skipped:
            continue
        full = len(batch) == CALL or characters + len(row.value.text) > CALL_CHARACTERS
        if batch and (full or row.value.id in batch):
            yield list(batch.values())
            batch, characters = {}, 0
        batch[row.value.id] = row.value
        characters += len(row.value.text)
    if batch:
        yield list(batch.values())


@app.command()
def delete(
    name: Name,
    ids: Annotated[list[str], typer.Argument(metavar="ID…", help="Documents to delete.")],
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Delete documents by their ids.

    ```
    upsize index delete docs a17 a18
    ```
    """
    with calls(base_url, api_key) as call:
        reply = call("POST", f"/v1/indexes/{name}/delete", {"ids": ids})
    if json:
        print_json(reply)
        return
    typer.echo(f"{len(reply['deleted'])} deleted")
    if reply["not_found"]:
        typer.echo(f"Not found: {', '.join(reply['not_found'])}", err=True)


@app.command()
def search(
    name: Name,
    query: Annotated[str, typer.Argument(metavar="QUERY")],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Results.")] = 10,
    filter: Annotated[  # noqa: A002 (the option's name)
        str | None,
        typer.Option(metavar="JSON", help='Filter on metadata, such as {"lang": "en", "year": {"gte": 2020}}.'),
    ] = None,
    instruction: Annotated[str | None, typer.Option(help="Instruction of the query (its task), in English.")] = None,
    dim: Annotated[int | None, typer.Option(help="Dimension to search at: the index's, or its coarse one.")] = None,
    rerank: Annotated[
        str | None,
        typer.Option(metavar="MODEL", help="Let this reranker (served, or a demo) reorder the first results."),
    ] = None,
    depth: Annotated[int, typer.Option(min=1, max=1000, help="Results that the reranker scores.")] = 20,
    exact: Annotated[
        bool, typer.Option("--exact", help="Compare with every vector instead of the approximate index.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which stages answered, and how long each took.")
    ] = False,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Search an index.

    ```
    upsize index search docs "how do plants eat light?" -k 3
    upsize index search docs "refund" --filter '{"lang": "en"}' --rerank demo-rerank --explain
    ```
    """
    body: dict[str, Any] = {"query": query, "k": k, "exact": exact, "explain": explain}
    body |= {"instruction": instruction, "dimension": dim}
    if filter:
        body["filter"] = filter_of(filter)
    if rerank:
        body["rerank"] = {"model": rerank, "depth": depth}
    with calls(base_url, api_key) as call:
        reply = call("POST", f"/v1/indexes/{name}/search", body)
    if json:
        print_json(reply)
        return
    table = Table("score", "id", "text", box=None, pad_edge=False)
    for result in reply["results"]:
        text = " ".join(result["text"].split())
        table.add_row(f"{result['score']:.3f}", result["id"], text[:160] + ("…" if len(text) > 160 else ""))
    if reply["results"]:
        print_table(results(markup=False), table)
    else:
        typer.echo("Nothing found.")
        if compares_numbers(body.get("filter", {})):
            typer.echo(
                "A number in a filter matches numbers only, and all fields of a CSV file are strings. "
                'Write it in quotes for those: {"year": {"gte": "2020"}}.',
                err=True,
            )
    if "incomplete" in reply:
        typer.echo(reply["incomplete"]["note"], err=True)
    if explain:
        explained = reply["explain"]
        parts = ", ".join(f"{part} {ms:.1f} ms" for part, ms in explained["milliseconds"].items())
        where = f"{explained['model']} ({explained['generation']}, {explained['fingerprint']})"
        typer.echo(f"{where}, {' → '.join(explained['rungs'])}: {parts}")


@app.command()
def status(
    name: Annotated[str | None, typer.Argument(metavar="[NAME]", help="The index. Default: all.")] = None,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Show what an index holds, and its last error.

    ```
    upsize index status
    upsize index status docs --json
    ```
    """
    with calls(base_url, api_key) as call:
        names = [name] if name else call("GET", "/v1/indexes")["indexes"]
        reply = [call("GET", f"/v1/indexes/{n}") for n in names]
    if json:
        print_json(reply[0] if name else {"indexes": reply})
        return
    table = Table("index", "documents", "generation", "model", "dimension", "vectors", "missing", "MB", box=None)
    for index in reply:
        for generation in index["generations"]:
            answers = generation["id"] == index["active"]
            table.add_row(
                index["name"],
                f"{index['documents']:,}",
                generation["id"] + (" answers" if answers else ""),
                generation["model"],
                str(generation["dimension"]),
                f"{generation.get('vectors', '?'):,}" if "vectors" in generation else "unreadable",
                f"{generation['missing']:,}",
                f"{generation.get('bytes', 0) / 1e6:.1f}",
            )
    if reply:
        print_table(results(markup=False), table)
    else:
        typer.echo("No index yet. Make one: upsize index create NAME")
    for index in reply:
        troubles = [index["trouble"], *(g.get("error") for g in index["generations"])]
        for trouble in filter(None, troubles):
            typer.echo(f"{index['name']}: {trouble}", err=True)


@app.command()
def rebuild(
    name: Name,
    generation: Annotated[str | None, typer.Option(help="Default: the one that answers.")] = None,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Embed all texts of a generation again, for example after a table was damaged.

    ```
    upsize index rebuild docs
    ```
    """
    with calls(base_url, api_key, fills=True) as call:
        reply = call("POST", f"/v1/indexes/{name}/rebuild", {"generation": generation})
        if call.local:
            wait_for(call, name)
    typer.echo(f"{reply['rebuilding']} {'is made anew' if call.local else 'is being made anew: upsize index status'}.")


def wait_for(call: Any, name: str) -> None:
    """Show a progress bar until the generations that are filled have no backlog."""
    with ProgressBar("making vectors", unit="texts") as bar:
        total = 0
        while True:
            reply = call("GET", f"/v1/indexes/{name}")
            missing = sum(g["missing"] for g in reply["generations"] if g["filled"])
            total = max(total, missing)
            bar.advance(total - missing, total)
            if reply["trouble"]:
                bar.say(reply["trouble"])
            if not missing:
                return
            time.sleep(0.3)


@app.command()
def drop(
    name: Name,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Drop it even if its store does not answer; its tables stay there.")
    ] = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Remove an index, its texts included.

    ```
    upsize index drop docs --yes
    ```
    """
    if not yes:
        typer.confirm(f"Remove the index {name!r} with all its texts?", abort=True)
    with calls(base_url, api_key) as call:
        call("DELETE", f"/v1/indexes/{name}" + ("?force=true" if force else ""))
    typer.echo(f"{name} is gone.")
