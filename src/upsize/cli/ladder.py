"""`upsize index ladder`: set and measure the cascade (reranker, larger model, funnel) of an index."""

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
        str | None,
        typer.Option(metavar="MODEL", help="L1: a reranker reorders the first results; `none` turns it off."),
    ] = None,
    rescore: Annotated[
        str | None,
        typer.Option(
            metavar="MODEL", help="L2: a larger embedding model rescores the first results; `none` turns it off."
        ),
    ] = None,
    depth: Annotated[
        int | None, typer.Option(min=1, max=1000, help="Results that the stage scores. Default: 20 for L1, 50 for L2.")
    ] = None,
    keep_bytes: Annotated[
        int, typer.Option(min=0, max=1 << 50, help="L2: bytes of the larger model's vectors that are kept.")
    ] = 1 << 30,
    funnel: Annotated[
        int | None, typer.Option(min=0, max=1000, help="Candidates by coarse vectors; 0 turns it off.")
    ] = None,
    measure: Annotated[
        Path | None, typer.Option(metavar="DATA", help="Labelled queries: measure quality and latency of each stage.")
    ] = None,
    depths: Annotated[str, typer.Option(help="With --measure: depths to compare, with commas between.")] = "20,50",
    encoding: shared.EncodingOption = None,
    delimiter: shared.DelimiterOption = None,
    json: AsJson = False,
    base_url: BaseUrl = None,
    api_key: ApiKey = None,
) -> None:
    """Set, turn off or measure the cascade: a reranker, and a larger model that rescores the first results.

    ```
    upsize index ladder docs --rerank demo-rerank --depth 20
    upsize index ladder docs --rescore demo-m --depth 50
    upsize index ladder docs --measure labelled/
    upsize index ladder docs --rerank none --rescore none
    ```
    """
    body: dict[str, Any] = {}
    for stage, model in (("rerank", rerank), ("rescore", rescore)):
        if model == "none":
            body[stage] = None
        elif model:
            body[stage] = {"model": shared.from_here(model, base_url)} | ({"depth": depth} if depth else {})
    if body.get("rescore"):
        body["rescore"]["keep_bytes"] = keep_bytes
    if funnel is not None:
        body["funnel"] = funnel or None
    steps = [int(d) if re.fullmatch(r" *[0-9]{1,9} *", d) else 0 for d in depths.split(",")]
    if 0 in steps:
        raise InvalidInput(f"--depths {depths}: give numbers with commas between, such as 20,50.")
    queries = labelled_queries(measure, ReadOptions(encoding, delimiter)) if measure else None
    with calls(base_url, api_key) as call:
        reply = call("POST", f"/v1/indexes/{name}/ladder", body) if body else call("GET", f"/v1/indexes/{name}")
        if queries is not None:
            measurement: dict[str, Any] = {"queries": queries, "rescore": steps if reply["rescore"] else []}
            measurement["rerank"] = (
                [{"model": reply["rerank"]["model"], "depth": d} for d in steps] if reply["rerank"] else []
            )
            reply = call("POST", f"/v1/indexes/{name}/ladder/measure", measurement)
    if json:
        print_json(reply)
    elif queries is not None:
        show_variants(reply)
    else:
        models = {g["id"]: g["model"] for g in reply["generations"]}
        larger = reply["rescore"] and reply["rescore"] | {"model": models[reply["rescore"]["generation"]]}
        typer.echo(f"L1 rerank: {_stage_text(reply['rerank'])}\nL2 rescore: {_stage_text(larger)}")
        typer.echo(f"funnel: {reply['funnel'] or 'none'}")


def _stage_text(setting: dict[str, Any] | None) -> str:
    return f"{setting['model']}, the first {setting['depth']}" if setting else "none"


def show_variants(reply: dict[str, Any]) -> None:
    """Print a comparison as a table."""
    table = Table("variant", reply["metric"], "95 % interval", "p50", "p95", box=None)
    for way in reply["ways"]:
        table.add_row(
            way["name"],
            fixed(way["estimate"], 3),
            f"{fixed(way['lower'], 3)} to {fixed(way['upper'], 3)}",
            f"{fixed(way['p50_ms'], 1)} ms",
            f"{fixed(way['p95_ms'], 1)} ms",
        )
    print_table(results(markup=False), table)
    if reply.get("approximate_recall") is not None:
        typer.echo(
            f"Recall@10 of the store's approximate index against exact search: {reply['approximate_recall']:.1%}."
        )
    for note in reply["notes"]:
        typer.echo(note, err=True)
