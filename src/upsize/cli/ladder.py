"""`upsize index ladder`: the steps before a move."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from upsize.cli import options as shared
from upsize.cli.console import print_table, results
from upsize.cli.index_client import ApiKey, AsJson, BaseUrl, Name, calls, labelled_queries, print_json
from upsize.errors import InvalidInput
from upsize.io import ReadOptions
from upsize.number_format import fixed


def ladder(
    name: Name,
    rerank: Annotated[
        str | None, typer.Option(metavar="MODEL", help="L1: a reranker reorders the first; `none` turns it off.")
    ] = None,
    rescore: Annotated[
        str | None, typer.Option(metavar="MODEL", help="L2: a larger embedder scores the first; `none` turns it off.")
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, max=1000, help="How many it sees. Default: 20 for L1, 50 for L2.")
    ] = None,
    keep_bytes: Annotated[int, typer.Option(min=0, max=1 << 50, help="L2: bytes of vectors that are kept.")] = 1 << 30,
    funnel: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Candidates by coarse vectors; 0 turns it off.")
    ] = None,
    measure: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Labelled queries: quality and latency of each rung.")
    ] = None,
    depths: Annotated[str, typer.Option(help="With --measure: depths to compare, with commas between.")] = "20,50",
    encoding: shared.EncodingOption = None,
    delimiter: shared.DelimiterOption = None,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """The steps before a move: a reranker, a larger model that rescores; set them, turn them off, or measure them.

    ```
    upsize index ladder docs --rerank demo-rerank --depth 20
    upsize index ladder docs --rescore demo-m --depth 50
    upsize index ladder docs --measure labelled/
    upsize index ladder docs --rerank none --rescore none
    ```
    """
    body: dict[str, Any] = {}
    for rung, model in (("rerank", rerank), ("rescore", rescore)):
        if model == "none":
            body[rung] = None
        elif model:
            body[rung] = {"model": shared.from_here(model, base_url)} | ({"depth": depth} if depth else {})
    if body.get("rescore"):
        body["rescore"]["keep_bytes"] = keep_bytes
    if funnel is not None:
        body["funnel"] = funnel or None
    steps = [int(d) if re.fullmatch(r" *[0-9]{1,9} *", d) else 0 for d in depths.split(",")]
    if 0 in steps:
        raise InvalidInput(f"--depths {depths}: give numbers with commas between, such as 20,50.")
    queries = labelled_queries(measure, ReadOptions(encoding, delimiter)) if measure else None
    with calls(base_url, api_key) as call:
        told = call("POST", f"/v1/indexes/{name}/ladder", body) if body else call("GET", f"/v1/indexes/{name}")
        if queries is not None:
            asked: dict[str, Any] = {"queries": queries, "rescore": steps if told["rescore"] else []}
            asked["rerank"] = [{"model": told["rerank"]["model"], "depth": d} for d in steps] if told["rerank"] else []
            told = call("POST", f"/v1/indexes/{name}/ladder/measure", asked)
    if json:
        print_json(told)
    elif queries is not None:
        show_ways(told)
    else:
        models = {g["id"]: g["model"] for g in told["generations"]}
        larger = told["rescore"] and told["rescore"] | {"model": models[told["rescore"]["generation"]]}
        typer.echo(f"L1 rerank: {_rung(told['rerank'])}\nL2 rescore: {_rung(larger)}")
        typer.echo(f"funnel: {told['funnel'] or 'none'}")


def _rung(setting: dict[str, Any] | None) -> str:
    return f"{setting['model']}, the first {setting['depth']}" if setting else "none"


def show_ways(told: dict[str, Any]) -> None:
    """A comparison as a table."""
    table = Table("way", told["metric"], "95 % interval", "p50", "p95", box=None)
    for way in told["ways"]:
        table.add_row(
            way["name"],
            fixed(way["estimate"], 3),
            f"{fixed(way['lower'], 3)} to {fixed(way['upper'], 3)}",
            f"{fixed(way['p50_ms'], 1)} ms",
            f"{fixed(way['p95_ms'], 1)} ms",
        )
    print_table(results(markup=False), table)
    if told.get("approximate_recall") is not None:
        typer.echo(f"The store's approximate index finds {told['approximate_recall']:.1%} of the exact first ten.")
    for note in told["notes"]:
        typer.echo(note, err=True)
