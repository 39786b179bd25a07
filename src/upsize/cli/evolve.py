"""`upsize evolve …`: an index moves to another model while it is in use."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from upsize.cli import options as shared
from upsize.cli.console import print_table, results
from upsize.cli.index_client import ApiKey, AsJson, BaseUrl, IndexClient, Name, calls, labelled_queries, print_json
from upsize.cli.ladder import show_ways
from upsize.io import ReadOptions
from upsize.number_format import short
from upsize.progress import ProgressBar, duration

app = typer.Typer(
    help="Move an index to another model while it is in use: plan, start, compare, switch, and a way back.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

To = Annotated[str, typer.Option("--to", metavar="MODEL", help="Folder, hub id, or demo name.")]
Dim = Annotated[int | None, typer.Option(help="Dimension of the new vectors. Default: the model's.")]
Coarse = Annotated[int | None, typer.Option(help="Keep vectors cut to so many values too, for a funnel.")]
Price = Annotated[float | None, typer.Option(min=0, help="Price of an hour of this machine.")]
Force = Annotated[bool, typer.Option("--force", help="Do it although it would be refused.")]


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
    """What a move would take: hours (from the tokens per second measured just now), bytes, money; what will not fit.

    Exit code 1 if something will not fit.

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
        told = call("POST", f"/v1/indexes/{name}/move/plan", body)
    if json:
        print_json(told)
    else:
        _show_plan(told)
    if told["problems"]:
        raise typer.Exit(1)


def _show_plan(told: dict[str, Any]) -> None:
    table = Table(show_header=False, box=None)
    table.add_row("to", f"{told['model']}, {told['dimension']} dimensions")
    table.add_row("documents", f"{told['documents']:,}, about {told['tokens']:,} tokens")
    if told["hours"] is not None:
        table.add_row(
            "time", f"{duration(3600 * told['hours'])} at {told['tokens_per_second']:,.0f} tokens/s, measured now"
        )
    if told["money"] is not None:
        table.add_row("money", f"{told['money']:.2f}")
    free = f", {told['disk_free'] / 1e9:.1f} GB free" if told["disk_free"] is not None else ""
    table.add_row("vectors", f"{told['vector_bytes'] / 1e6:,.1f} MB{free}")
    table.add_row("memory", f"{told['memory_bytes'] / 1e9:.2f} GB, {told['memory_free'] / 1e9:.1f} GB free")
    print_table(results(markup=False), table)
    for note in told["notes"]:
        typer.echo(note, err=True)
    for problem in told["problems"]:
        typer.echo(f"Will not fit: {problem}", err=True)


@app.command()
def start(
    name: Name,
    to: Annotated[
        str | None, typer.Option("--to", metavar="MODEL", help="Folder, hub id, or demo name. Not needed to go on.")
    ] = None,
    dim: Dim = None,
    coarse: Coarse = None,
    dtype: shared.Dtype = "auto",
    max_length: shared.MaxLength = None,
    shadow: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of searches that the other generation is asked too. Default: 0.05."),
    ] = None,
    canary: Annotated[
        float | None,
        typer.Option(min=0, max=1, help="Share of searches that the new one answers, once it is complete."),
    ] = None,
    wait: Annotated[bool, typer.Option("--wait", help="Until the backfill is done.")] = False,
    force: Force = False,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Fill a generation of the new model beside the one that answers. After a pause, or any stop, goes on.

    Without a running service this process does it, and waits; Ctrl-C, and `start` later, is a pause.

    ```
    upsize evolve start docs --to demo-m
    upsize evolve start docs                      # go on
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
        told = call("POST", f"/v1/indexes/{name}/move/start", body)
        if wait or call.local:
            told = _wait(call, name)
    _tell(told, json)


def _wait(call: IndexClient, name: str) -> dict[str, Any]:
    said = None
    with ProgressBar("backfill", unit="texts") as bar:
        while True:
            told: dict[str, Any] = call("GET", f"/v1/indexes/{name}/move")
            if told["phase"] == "none":  # given up meanwhile
                return told
            bar.advance(told["embedded"], told["documents"] - told["refused"])
            if told["trouble"] and told["trouble"] != said:
                said = told["trouble"]
                bar.say(said)
            if told["phase"] != "backfill" or not told["missing"]:
                return told
            time.sleep(0.3)


@app.command()
def pause(name: Name, json: AsJson = False, base_url: BaseUrl = None, api_key: ApiKey = None) -> None:
    """Fill no further until `start` is given again.

    ```
    upsize evolve pause docs
    ```
    """
    _step(name, "pause", json, base_url, api_key)


@app.command()
def status(name: Name, json: AsJson = False, base_url: BaseUrl = None, api_key: ApiKey = None) -> None:
    """How far the move is, and how alike the two generations answer.

    ```
    upsize evolve status docs
    ```
    """
    with calls(base_url, api_key) as call:
        told = call("GET", f"/v1/indexes/{name}/move")
    _tell(told, json)


@app.command()
def tune(
    name: Name,
    shadow: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of searches that the other generation is asked too.")
    ] = None,
    canary: Annotated[
        float | None, typer.Option(min=0, max=1, help="Share of searches that the new one answers, once complete.")
    ] = None,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Change the share of searches that are compared, or that the new generation answers before the switch.

    ```
    upsize evolve tune docs --canary 0.1
    ```
    """
    with calls(base_url, api_key) as call:
        told = call("POST", f"/v1/indexes/{name}/move/tune", {"shadow": shadow, "canary": canary})
    _tell(told, json)


@app.command()
def compare(
    name: Name,
    data: Annotated[Path, typer.Argument(metavar="DATA", help="Labelled queries: BEIR folder, JSONL, CSV, Parquet.")],
    delta: Annotated[float, typer.Option(min=0, help="A difference of nDCG@10 below this does not matter.")] = 0.01,
    encoding: shared.EncodingOption = None,
    delimiter: shared.DelimiterOption = None,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Judge the new generation on labelled queries. Judged worse, a switch to it is refused.

    ```
    upsize evolve compare docs labelled/
    upsize evolve compare docs queries.jsonl --json
    ```
    """
    queries = labelled_queries(data, ReadOptions(encoding, delimiter))
    with calls(base_url, api_key) as call:
        told = call("POST", f"/v1/indexes/{name}/move/compare", {"queries": queries, "delta": delta})
    if json:
        print_json(told)
        return
    show_ways(told)
    typer.echo(told["reason"])
    if told["queries_needed"] and not told["too_few"]:
        typer.echo(f"About {told['queries_needed']:,} labelled queries would tell.")


@app.command()
def switch(
    name: Name, force: Force = False, json: AsJson = False, base_url: BaseUrl = None, api_key: ApiKey = None
) -> None:
    """Let the new generation answer. Both are kept in step until `finish`, and `rollback` leads back at once.

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
    """Drop the generation that does not answer. With --force before a switch: give the move up.

    ```
    upsize evolve finish docs
    ```
    """
    _step(name, "finish", json, base_url, api_key, force)


def _step(name: str, step: str, json: bool, base_url: str | None, api_key: str | None, force: bool = False) -> None:
    with calls(base_url, api_key) as call:
        told = call("POST", f"/v1/indexes/{name}/move/{step}", {"force": force})
    _tell(told, json)


def _tell(told: dict[str, Any], json: bool) -> None:
    if json:
        print_json(told)
        return
    if told["phase"] == "none":
        dropped = (
            f": {told['dropped']} was dropped; the move is over, and" if "dropped" in told else " is not on a move;"
        )
        typer.echo(f"{told['index']}{dropped} {told['active']} answers.")
        return
    table = Table(show_header=False, box=None)
    source, target = told["source"], told["target"]
    table.add_row("move", f"{source['model']} ({source['generation']}) → {target['model']} ({target['generation']})")
    table.add_row(
        "phase", told["phase"] + (", ready to switch" if told["ready"] and told["phase"] == "backfill" else "")
    )
    table.add_row("answers", told["active"])
    rate = f", {told['documents_per_second']:,.0f} a second" if told["missing"] else ""
    left = f", {duration(told['seconds_left'])} left" if told["seconds_left"] else ""
    table.add_row("embedded", f"{told['embedded']:,} of {told['documents']:,}{rate}{left}")
    if told["phase"] != "switched":
        off = "" if told["canary_active"] or not told["canary"] else " (off for now)"
        table.add_row("shares", f"shadow {short(told['shadow'])}, canary {short(told['canary'])}{off}")
        if told["incomplete"]:
            table.add_row("", told["incomplete"])
    if told["refused"]:
        first = told["refused_examples"][0]
        table.add_row("refused", f"{told['refused']:,}, for example {first['id']}: {first['reason']}")
    alike = told["agreement"]
    if alike["searches"]:
        table.add_row(
            "agreement",
            f"overlap {alike['overlap']:.2f}, rank-biased overlap {alike['rank_biased_overlap']:.2f} of "
            f"{alike['searches']:,} searches (not quality: label those that differ most)",
        )
        for example in alike["differ_most"][:3]:
            table.add_row("", f"{example['query'][:80]!r}: {example['rank_biased_overlap']:.2f}")
    if told["verdict"]:
        table.add_row("judged", told["verdict"]["reason"])
    if told["trouble"]:
        table.add_row("trouble", told["trouble"])
    print_table(results(markup=False), table)
