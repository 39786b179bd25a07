"""`upsize verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from upsize.cli.console import print_table, results
from upsize.cli.options import Device, Dtype, HubOption, Revision, TaskOption
from upsize.cli.report import JSON, write_json
from upsize.progress import ProgressBar

if TYPE_CHECKING:
    from upsize.diagnostics import Figure, Verification

STYLES = {"passed": "green", "failed": "bold red", "differs": "yellow", "skipped": "dim"}


def verify(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Model folder, hub id, or demo model.")],
    batches: Annotated[int, typer.Option(min=1, help="Random batches for the batch-invariance check.")] = 20,
    published: Annotated[
        bool, typer.Option("--published", help="Fail unless the weights are the published ones.")
    ] = False,
    json: Annotated[Path | None, JSON] = None,
    dtype: Dtype = "auto",
    device: Device = "auto",
    task: TaskOption = None,
    hub: HubOption = None,
    revision: Revision = None,
) -> None:
    """Check that this machine computes a checkpoint correctly: against transformers, published values and invariants.

    Exit code 0 if no check failed, 1 otherwise. A skipped check says why.

    - `upsize verify Qwen/Qwen3-Embedding-0.6B`
    - `upsize verify ./my-fine-tuned --dtype float32 --batches 50`
    - `upsize verify Qwen/Qwen3-Reranker-0.6B --published --json report.json`
    """
    from upsize.compute import load_model
    from upsize.diagnostics import verify as run
    from upsize.model import HubOptions

    options = HubOptions(hub=hub, revision=revision)
    with ProgressBar("loading") as bar:
        loaded = load_model(model, kind=task, device=device, dtype=dtype, hub=options)
        for note in loaded.plan.notes:
            bar.say(f"note: {note}")
        done = run(loaded, batches=batches, strict=published, on_check=lambda name: bar.describe(f"checking: {name}"))
    if json is not None:
        write_json(json, done.to_json())
    if json is None or str(json) != "-":
        _show(done)
    if not done.ok:
        raise typer.Exit(1)


def _show(done: Verification) -> None:
    console = results()
    shape = f", of the shape of {done.published}" if done.published else ""
    console.print(
        f"[bold]{escape(done.folder)}[/]: {done.kind}{shape}, "
        f"{done.precision} on {done.device}, space {done.fingerprint}, torch {done.torch or 'not installed'}"
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("", "check", "found, and what is allowed"):
        table.add_column(heading)
    for check in done.checks:
        lines = [_line(figure) for figure in check.figures]
        lines += [f"[dim]{escape(check.note)}[/]"] if check.note else []
        table.add_row(f"[{STYLES[check.status]}]{check.status}[/]", check.name, "\n".join(lines))
    print_table(console, table)
    counts = ", ".join(f"{done.count(s)} {s}" for s in STYLES if done.count(s))
    console.print(f"{'[bold green]verified' if done.ok else '[bold red]not verified'}[/]: {counts}")


def _line(figure: Figure) -> str:
    style = "bold" if figure.holds else "bold red"
    return f"{escape(figure.name)} [{style}]{figure.value_text}[/] ({figure.limit_text})"
