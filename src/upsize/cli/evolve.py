"""`upsize evolve …`: move an index to another model while it serves searches."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from upsize.cli import options as shared
from upsize.cli.console import print_table, results
from upsize.cli.index_client import ApiKey, AsJson, BaseUrl, IndexClient, Name, calls, labelled_queries, print_json
from upsize.cli.ladder import show_variants
from upsize.io import ReadOptions
from upsize.number_format import short
from upsize.progress import ProgressBar, duration

app = typer.Typer(
    help="Move an index to another model while it serves searches: plan, start, compare, switch, roll back.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

To = Annotated[str, typer.Option("--to", metavar="MODEL", help="Folder, hub id, or demo name.")]
Dim = Annotated[int | None, typer.Option(help="Dimension of the new vectors. Default: the model's.")]
Coarse = Annotated[int | None, typer.Option(help="Also keep vectors cut to this dimension, for a funnel.")]
Price = Annotated[float | None, typer.Option(min=0, help="Price of one hour of this machine, for the estimated cost.")]
Force = Annotated[bool, typer.Option("--force", help="Do it even where it would be refused.")]


@app.command()
def plan(
    name: Name,
    to: To,
    dim: Dim = None,
    coarse: Coarse = None,
    dtype: shared.Dtype = "auto",
    max_length: shared.MaxLength = None,
    price: Price = None,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Estimate a move: hours (from the tokens per second measured now), bytes, cost, and problems that prevent it.

    Exit code 1 if the move does not fit this machine.

    ```
    upsize evolve plan docs --to demo-m
    upsize evolve plan docs --to Qwen/Qwen3-Embedding-8B --dim 2048 --price 3.20
    ```
    """
    body = {
        "to": shared.from_here(to, base_url),
        "dimension": dim,
        "coarse": coarse,
        "dtype": dtype,
        "max_length": max_length,
        "price": price,
    }
    with calls(base_url, api_key) as call:
        reply = call("POST", f"/v1/indexes/{name}/move/plan", body)
    if json:
        print_json(reply)
    else:
        _show_plan(reply)
    if reply["problems"]:
        raise typer.Exit(1)


def _show_plan(reply: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("to", f"{reply['model']}, {reply['dimension']} dimensions")
    table.add_row("documents", f"{reply['documents']:,}, about {reply['tokens']:,} tokens")
    if reply["hours"] is not None:
        table.add_row(
            "time", f"{duration(3600 * reply['hours'])} at {reply['tokens_per_second']:,.0f} tokens/s, measured now"
        )
    if reply["money"] is not None:
        table.add_row("cost", f"{reply['money']:.2f}")
    free = f", {reply['disk_free'] / 1e9:.1f} GB free" if reply["disk_free"] is not None else ""
    table.add_row("vectors", f"{reply['vector_bytes'] / 1e6:,.1f} MB{free}")
    table.add_row("memory", f"{reply['memory_bytes'] / 1e9:.2f} GB, {reply['memory_free'] / 1e9:.1f} GB free")
    print_table(results(markup=False), table)
    for note in reply["notes"]:
        typer.echo(note, err=True)
    for problem in reply["problems"]:
        typer.echo(f"Does not fit: {problem}", err=True)


@app.command()
def start(
    name: Name,
    to: Annotated[
        str | None, typer.Option("--to", metavar="MODEL", help="Folder, hub id, or demo name. Not needed to resume.")
    ] = None,
    dim: Dim = None,
    coarse: Coarse = None,
    dtype: shared.Dtype = "auto",
    max_length: shared.MaxLength = None,
    shadow: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of searches that the other generation answers too, as shadow reads. Default: 0.05.",
        ),
    ] = None,
    canary: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of searches that the new generation answers before the switch, once it is complete.",
        ),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the backfill is done.")] = False,
    force: Force = False,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Start the backfill of a generation of the new model beside the one that answers. Resumes after a pause or stop.

    Without a running service this process does the work and waits. Ctrl-C pauses it; `start` resumes it later.

    ```
    upsize evolve start docs --to demo-m
    upsize evolve start docs                      # resume
    upsize evolve start docs --to demo-m --shadow 0.2 --wait
    ```
    """
    body = {
        "to": shared.from_here(to, base_url),
        "dimension": dim,
        "coarse": coarse,
        "dtype": dtype,
        "max_length": max_length,
        "shadow": shadow,
        "canary": canary,
        "force": force,
    }
    with calls(base_url, api_key, fills=True) as call:
        reply = call("POST", f"/v1/indexes/{name}/move/start", body)
        if wait or call.local:
            reply = _wait(call, name)
    _show_status(reply, json)


def _wait(call: IndexClient, name: str) -> dict[str, Any]:
    shown = None
    with ProgressBar("backfill", unit="texts") as bar:
        while True:
            reply: dict[str, Any] = call("GET", f"/v1/indexes/{name}/move")
            if reply["phase"] == "none":  # given up meanwhile
                return reply
            bar.advance(reply["embedded"], reply["documents"] - reply["refused"])
            if reply["trouble"] and reply["trouble"] != shown:
                shown = reply["trouble"]
                bar.say(shown)
            if reply["phase"] != "backfill" or not reply["missing"]:
                return reply
            time.sleep(0.3)


@app.command()
def pause(name: Name, json: AsJson = False, base_url: BaseUrl = None, api_key: ApiKey = None) -> None:
    """Pause the backfill until the next `start`.

    ```
    upsize evolve pause docs
    ```
    """
    _step(name, "pause", json, base_url, api_key)


@app.command()
def status(name: Name, json: AsJson = False, base_url: BaseUrl = None, api_key: ApiKey = None) -> None:
    """Show the progress of the move, and how similar the answers of the two generations are.

    ```
    upsize evolve status docs
    ```
    """
    with calls(base_url, api_key) as call:
        reply = call("GET", f"/v1/indexes/{name}/move")
    _show_status(reply, json)


@app.command()
def tune(
    name: Name,
    shadow: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of searches that the other generation answers too, as shadow reads."),
    ] = None,
    canary: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1,
            help="Share of searches that the new generation answers before the switch, once it is complete.",
        ),
    ] = None,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Change the share of shadow reads, or of searches that the new generation answers before the switch.

    ```
    upsize evolve tune docs --canary 0.1
    ```
    """
    with calls(base_url, api_key) as call:
        reply = call("POST", f"/v1/indexes/{name}/move/tune", {"shadow": shadow, "canary": canary})
    _show_status(reply, json)


@app.command()
def compare(
    name: Name,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled queries: BEIR folder, JSONL, CSV, Parquet.")],
    delta: Annotated[float, typer.Option(min=0, help="Largest difference of nDCG@10 that does not matter.")] = 0.01,
    encoding: shared.EncodingOption = None,
    delimiter: shared.DelimiterOption = None,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Compare both generations on labelled queries. A switch to a generation that is judged worse is refused.

    ```
    upsize evolve compare docs labelled/
    upsize evolve compare docs queries.jsonl --json
    ```
    """
    queries = labelled_queries(data, ReadOptions(encoding, delimiter))
    with calls(base_url, api_key) as call:
        reply = call("POST", f"/v1/indexes/{name}/move/compare", {"queries": queries, "delta": delta})
    if json:
        print_json(reply)
        return
    show_variants(reply)
    typer.echo(reply["reason"])
    if reply["queries_needed"] and not reply["too_few"]:
        typer.echo(f"About {reply['queries_needed']:,} labelled queries are needed to decide.")


@app.command()
def switch(
    name: Name, force: Force = False, json: AsJson = False, base_url: BaseUrl = None, api_key: ApiKey = None
) -> None:
    """Let the new generation answer. Both stay up to date until `finish`, so that `rollback` takes effect at once.

    ```
    upsize evolve switch docs
    ```
    """
    _step(name, "switch", json, base_url, api_key, force)


@app.command()
def rollback(
    name: Name, force: Force = False, json: AsJson = False, base_url: BaseUrl = None, api_key: ApiKey = None
) -> None:
    """Let the old generation answer again.

    ```
    upsize evolve rollback docs
    ```
    """
    _step(name, "rollback", json, base_url, api_key, force)


@app.command()
def finish(
    name: Name, force: Force = False, json: AsJson = False, base_url: BaseUrl = None, api_key: ApiKey = None
) -> None:
    """Drop the generation that does not answer. Before a switch, --force gives the move up.

    ```
    upsize evolve finish docs
    ```
    """
    _step(name, "finish", json, base_url, api_key, force)


def _step(name: str, step: str, json: bool, base_url: str | None, api_key: str | None, force: bool = False) -> None:
    with calls(base_url, api_key) as call:
        reply = call("POST", f"/v1/indexes/{name}/move/{step}", {"force": force})
    _show_status(reply, json)


def _show_status(reply: dict[str, Any], json: bool) -> None:
    if json:
        print_json(reply)
        return
    if reply["phase"] == "none":
        dropped = (
            f": {reply['dropped']} was dropped; the move is over, and" if "dropped" in reply else " is not on a move;"
        )
        typer.echo(f"{reply['index']}{dropped} {reply['active']} answers.")
        return
    table = Table(show_header=False, box=None)
    source, target = reply["source"], reply["target"]
    table.add_row("move", f"{source['model']} ({source['generation']}) → {target['model']} ({target['generation']})")
    table.add_row(
        "phase", reply["phase"] + (", ready to switch" if reply["ready"] and reply["phase"] == "backfill" else "")
    )
    table.add_row("answers", reply["active"])
    rate = f", {reply['documents_per_second']:,.0f} documents/s" if reply["missing"] else ""
    left = f", {duration(reply['seconds_left'])} left" if reply["seconds_left"] else ""
    table.add_row("embedded", f"{reply['embedded']:,} of {reply['documents']:,}{rate}{left}")
    if reply["phase"] != "switched":
        off = "" if reply["canary_active"] or not reply["canary"] else " (inactive)"
        table.add_row("shares", f"shadow {short(reply['shadow'])}, canary {short(reply['canary'])}{off}")
        if reply["incomplete"]:
            table.add_row("", reply["incomplete"])
    if reply["refused"]:
        first = reply["refused_examples"][0]
        table.add_row("refused", f"{reply['refused']:,}, for example {first['id']}: {first['reason']}")
    alike = reply["agreement"]
    if alike["searches"]:
        table.add_row(
            "agreement",
            f"overlap {alike['overlap']:.2f}, rank-biased overlap {alike['rank_biased_overlap']:.2f} of "
            f"{alike['searches']:,} searches (similarity, not quality: label the queries that differ most)",
        )
        for example in alike["differ_most"][:3]:
            table.add_row("", f"{example['query'][:80]!r}: {example['rank_biased_overlap']:.2f}")
    if reply["verdict"]:
        table.add_row("verdict", reply["verdict"]["reason"])
    if reply["trouble"]:
        table.add_row("trouble", reply["trouble"])
    print_table(results(markup=False), table)
