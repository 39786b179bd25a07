"""`upsize choose`: which size, on the user's texts and machine."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upsize.cli import options as shared
from upsize.cli.console import print_table, results
from upsize.cli.report import write_json
from upsize.number_format import MISSING, bounds, fixed, plain

if TYPE_CHECKING:
    from upsize.selection import CandidateReport, Latency, Quantile, Verdict

DATA, SPEED, VERDICT, PRIOR = "Data", "Speed and limits", "Verdict", "With no data: from published scores"
HEADS = {"stay": "[bold green]stay[/]", "go_up": "[bold cyan]go up[/]", "cannot_tell": "[bold yellow]cannot tell[/]"}
NEWS_RECIPE = "zh-news-clustering"
"""Clusters Chinese news titles by section, as MTEB's ThuNewsClusteringS2S does, so that published values compare."""
SLICES = {"as_all": "as all", "go_up": "[cyan]go up[/]", "cannot_tell": "cannot tell", "too_few": "[dim]too few[/]"}


def choose(
    data: Annotated[
        Path | None,
        typer.Option(help="BEIR folder, or a file of labelled texts: JSONL, CSV, Parquet.", rich_help_panel=DATA),
    ] = None,
    models: Annotated[
        list[str] | None, typer.Option(help="Embedders: folders, hub ids or demo names, one or more.")
    ] = None,
    rerankers: Annotated[list[str] | None, typer.Option(help="Rerankers to try over each embedder.")] = None,
    depths: Annotated[
        list[int] | None, typer.Option(help="Documents of the first stage that a reranker scores. Default: 20.")
    ] = None,
    dims: Annotated[list[int] | None, typer.Option(help="Dimensions to try besides each model's full one.")] = None,
    precisions: Annotated[
        list[str] | None, typer.Option(help="auto (the checkpoint's), bfloat16, float32, int8. Default: auto.")
    ] = None,
    out: Annotated[Path, typer.Option(help="Folder of the report. A stopped run resumes from it.")] = Path("report"),
    json: Annotated[bool, typer.Option("--json", help="Print verdict.json instead of the summary.")] = False,
    recipe: Annotated[
        str | None, typer.Option(help="A known question: zh-news-clustering.", rich_help_panel=DATA)
    ] = None,
    kind: Annotated[
        str | None,
        typer.Option(help="Kind of task, such as clustering. Default: detected from the data.", rich_help_panel=DATA),
    ] = None,
    instruction: Annotated[
        str | None, typer.Option(help="The task in English. Default: the kind's; empty: none.", rich_help_panel=DATA)
    ] = None,
    field: Annotated[
        list[str] | None,
        typer.Option(metavar="ROLE=NAME", help="Field that has a role, such as text=title.", rich_help_panel=DATA),
    ] = None,
    slices: Annotated[
        list[str] | None, typer.Option(help="Fields whose values are judged separately.", rich_help_panel=DATA)
    ] = None,
    split: Annotated[
        str | None, typer.Option(help="Split of the judgements or rows. Default: test.", rich_help_panel=DATA)
    ] = None,
    encoding: Annotated[
        str | None, typer.Option(metavar="NAME", help=shared.ENCODING_HELP, rich_help_panel=DATA)
    ] = None,
    delimiter: Annotated[
        str | None, typer.Option(metavar="CHARACTER", help=shared.DELIMITER_HELP, rich_help_panel=DATA)
    ] = None,
    skip_bad: Annotated[
        bool,
        typer.Option("--skip-bad", help="Skip rows that cannot be used, and list them.", rich_help_panel=DATA),
    ] = False,
    delta: Annotated[
        float, typer.Option(help="Margin: the smallest gain of the metric that pays.", rich_help_panel=VERDICT)
    ] = 0.01,
    seed: Annotated[int, typer.Option(help="Seed of all random draws.", rich_help_panel=VERDICT)] = 0,
    rate: Annotated[float, typer.Option(help="Queries a second of the load.", rich_help_panel=SPEED)] = 1.0,
    slo_p50: Annotated[str | None, typer.Option(metavar="50ms", help="Limit of p50.", rich_help_panel=SPEED)] = None,
    slo_p95: Annotated[str | None, typer.Option(metavar="50ms", help="Limit of p95.", rich_help_panel=SPEED)] = None,
    slo_p99: Annotated[str | None, typer.Option(metavar="50ms", help="Limit of p99.", rich_help_panel=SPEED)] = None,
    seconds: Annotated[float, typer.Option(help="Seconds of load at the rate.", rich_help_panel=SPEED)] = 20.0,
    speed: Annotated[
        bool, typer.Option(help="Measure latency and memory, or quality alone.", rich_help_panel=SPEED)
    ] = True,
    price: Annotated[float | None, typer.Option(help="Price of a machine hour.", rich_help_panel=SPEED)] = None,
    task: Annotated[str | None, typer.Option(help="Kind of task, such as clustering.", rich_help_panel=PRIOR)] = None,
    language: Annotated[str | None, typer.Option(help="Language, such as zh.", rich_help_panel=PRIOR)] = None,
    domain: Annotated[str | None, typer.Option(help="Domain, such as news.", rich_help_panel=PRIOR)] = None,
    device: shared.Device = "auto",
    hub: shared.HubOption = None,
) -> None:
    """Say which size to use, from your own labelled texts and on this machine.

    Measures each candidate's quality, text by text, and its latency, memory and throughput; then says "stay", "go up"
    or "cannot tell: label so many more", with intervals. A command that was killed resumes when it is run again.

    ```
    upsize choose --data scifact/ --models demo-xs demo-s demo-m --out report/
    upsize choose --data faq.jsonl --models Qwen/Qwen3-Embedding-0.6B Qwen/Qwen3-Embedding-4B \\
        --rerankers Qwen/Qwen3-Reranker-0.6B --rate 5 --slo-p95 200ms
    upsize choose --data intents.csv --models demo-s demo-m --dims 64 --delta 0.02 --no-speed
    upsize choose --recipe zh-news-clustering --data titles.csv --models demo-xs demo-m
    upsize choose --task clustering --language zh --domain news    # no data: a prior, not a measurement
    ```
    """
    options = dict(locals())  # by the names of ChoiceSettings; before any other local variable
    from upsize.selection import require_extra

    require_extra()
    if data is None and (task or language or domain):
        _print_prior(task, language, domain, delta, json)
        return
    if data is None or not models:
        raise typer.BadParameter(
            "say which texts and which models, --data PATH --models NAME …; or with no data, --task NAME."
        )
    from upsize.evaluation.datasets import TaskKind
    from upsize.evaluation.tasks import NEWS_TITLES
    from upsize.model import HubOptions
    from upsize.selection.pipeline import run_choice
    from upsize.selection.settings import ChoiceSettings, milliseconds

    if task or language or domain:
        raise typer.BadParameter("--task, --language and --domain ask what is published; with --data, use --kind.")
    if recipe is not None:
        if recipe != NEWS_RECIPE:
            raise typer.BadParameter(f"there is no recipe {recipe!r}. Recipes: {NEWS_RECIPE}.", param_hint="--recipe")
        options |= {"kind": kind or TaskKind.CLUSTERING.value, "instruction": instruction or NEWS_TITLES}
    limits = {"p50": slo_p50, "p95": slo_p95, "p99": slo_p99}
    options |= {
        "slo": {quantile: milliseconds(limit) for quantile, limit in limits.items() if limit is not None},
        "fields": _roles(field or []),
        "hub": HubOptions(hub=hub),
    }
    err = Console(stderr=True, highlight=False, soft_wrap=True)
    verdict = run_choice(
        ChoiceSettings.from_options(options), progress=True, log=lambda line: err.print(f"[dim]{escape(line)}[/]")
    )
    if json:
        write_json(Path("-"), verdict.to_json())
    else:
        print_verdict(verdict, out)


def _print_prior(task: str | None, language: str | None, domain: str | None, delta: float, json: bool) -> None:
    from upsize.selection.prior.evidence import published_prior
    from upsize.selection.prior.terminal import print_prior

    found = published_prior(task, language, domain, delta=delta)
    if json:
        write_json(Path("-"), found.to_json())
    else:
        print_prior(found, results(), print_table)


def _roles(entries: list[str]) -> dict[str, str]:
    roles = dict(entry.partition("=")[::2] for entry in entries)
    if wrong := [entry for entry in entries if "=" not in entry]:
        raise typer.BadParameter(f"{wrong[0]!r}: write ROLE=NAME, such as text=title.", param_hint="--field")
    return roles


def print_verdict(verdict: Verdict, out: Path) -> None:
    """Print the summary: reason, candidates, slices, what would change it, notes."""
    console = results()
    console.print(f"\n{HEADS[verdict.decision]}  {escape(verdict.reason)}\n", soft_wrap=True)
    table = Table(box=None, pad_edge=False)
    table.add_column("")
    table.add_column("candidate")
    table.add_column(verdict.task.metric, justify="right")
    for name in ("p95 ms", "knee /s", "peak GB", "tokens/s", "bytes/vector"):
        table.add_column(name, justify="right")
    for report in verdict.candidates:
        mark = "→" if report.id == verdict.choice else "" if report.feasible else "✗"
        table.add_row(mark, escape(report.id), *_cells(report))
    print_table(console, table)
    for infeasible in verdict.refused:
        console.print(f"✗ {escape(infeasible.id)}: {escape(infeasible.reason)}", soft_wrap=True)
    shown = [s for s in verdict.slices if s.decision in ("go_up", "cannot_tell")]
    if shown:
        console.print("\n[bold]Slices[/]")
        for s in shown:
            d = s.difference
            ends = [fixed(x, 3, sign=True) for x in (d.estimate, d.lower, d.upper)] if d else []
            gain = f"{s.candidate} {ends[0]} ({ends[1]} to {ends[2]})" if d else ""
            console.print(f"  {escape(s.name)} ({s.units:,}): {SLICES[s.decision]} {escape(gain)}", soft_wrap=True)
    if verdict.what_would_change_it:
        console.print("\n[bold]What would change it[/]")
        for line in verdict.what_would_change_it:
            console.print(f"  {escape(line)}", soft_wrap=True)
    for note in verdict.notes:
        console.print(f"[yellow]note[/] {escape(note)}", soft_wrap=True)
    console.print(f"\n{escape(str(out / 'index.html'))}", soft_wrap=True)


def _cells(report: CandidateReport) -> list[str]:
    q, latency, memory = report.quality, report.latency, report.memory
    return [
        f"{fixed(q.estimate, 3)} ({fixed(q.lower, 3)} to {fixed(q.upper, 3)})",
        _bounded(latency.at_rate.p95) if latency else MISSING,
        _knee(latency) if latency and latency.knee else MISSING,
        f"{memory.peak / 1e9:.2f}" if memory and memory.peak is not None else MISSING,
        f"{plain(report.tokens_per_second)}" if report.tokens_per_second else MISSING,
        f"{report.bytes_a_vector:,}",
    ]


def _bounded(q: Quantile) -> str:
    return f"{fixed(q.estimate, 1)} ({bounds(fixed(q.lower, 1), None if q.upper is None else fixed(q.upper, 1))})"


def _knee(latency: Latency) -> str:
    return ("at least " if latency.knee_at_least else "") + plain(latency.knee)
