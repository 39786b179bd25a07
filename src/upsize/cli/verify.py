"""`upsize verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upsize.cli.report import JSON, write_json
from upsize.errors import InvalidInput

if TYPE_CHECKING:
    from upsize.catalog import Kind
    from upsize.measure import Verification
    from upsize.model.hub import Hub

STYLES = {"passed": "green", "failed": "bold red", "differs": "yellow", "skipped": "dim"}


def verify(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Folder, hub id, or demo name.")],
    dtype: Annotated[str, typer.Option(help="auto (the checkpoint's), bfloat16, float32, float16.")] = "auto",
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    batches: Annotated[int, typer.Option(min=1, help="Random batches of the batch-invariance check.")] = 20,
    published: Annotated[
        bool, typer.Option("--published", help="Fail unless these are the published weights.")
    ] = False,
    task: Annotated[
        str | None, typer.Option(help="embedding or reranker, for a checkpoint that does not tell.")
    ] = None,
    revision: Annotated[str | None, typer.Option(help="Branch, tag or commit at the hub.")] = None,
    download_dir: Annotated[str | None, typer.Option(help="Cache folder of the hub.")] = None,
    hub: Annotated[str | None, typer.Option(help="huggingface or modelscope; also UPSIZE_HUB.")] = None,
    token: Annotated[str | None, typer.Option(help="The hub's token; also HF_TOKEN.")] = None,
    json: Annotated[Path | None, JSON] = None,
) -> None:
    """Check that a checkpoint is computed rightly here: against transformers, published values and its own invariants.

    Exit code 0 if nothing failed, 1 otherwise. A check that cannot be made says why.

    \b
    upsize verify Qwen/Qwen3-Embedding-0.6B
    upsize verify ./my-fine-tuned --dtype float32 --batches 50
    upsize verify Qwen/Qwen3-Reranker-0.6B --published --json report.json
    """
    from upsize.compute import load_model
    from upsize.measure import verify as run
    from upsize.model import HubOptions

    options = HubOptions(_hub(hub), revision, download_dir, token)
    progress = Console(stderr=True, highlight=False)
    with progress.status("loading") as status:
        loaded = load_model(model, kind=_kind(task), device=device, dtype=dtype, hub=options)
        for note in loaded.plan.notes:
            progress.print(f"note: {note}")
        done = run(
            loaded, batches=batches, strict=published, begin=lambda name: status.update(f"checking: {escape(name)}")
        )
    if json is not None:
        write_json(json, done.to_json())
    if json is None or str(json) != "-":
        _show(done)
    if not done.ok:
        raise typer.Exit(1)


def _show(done: Verification) -> None:
    console = Console(highlight=False)
    console.print(
        f"[bold]{escape(done.folder)}[/]: {done.kind}{f', of the shape of {done.published}' if done.published else ''}, "
        f"{done.precision} on {done.device}, space {done.fingerprint}, torch {done.torch}"
    )
    table = Table(box=None, pad_edge=False)
    for heading in ("check", "", "figure", "found", "allowed", "what"):
        table.add_column(heading, justify="right" if heading == "found" else "left")
    for check in done.checks:
        table.add_row(
            check.name,
            f"[{STYLES[check.status]}]{check.status}[/]",
            "\n".join(f.name for f in check.figures),
            "\n".join(f.value_text if f.holds else f"[bold red]{f.value_text}[/]" for f in check.figures),
            "\n".join(f.limit_text for f in check.figures),
            escape(check.note),
        )
    console.print(table)
    counts = ", ".join(f"{done.count(s)} {s}" for s in STYLES if done.count(s))
    console.print(
        f"[{'bold green' if done.ok else 'bold red'}]{'verified' if done.ok else 'not verified'}[/]: {counts}"
    )


def _kind(task: str | None) -> Kind | None:
    if task is None or task == "embedding" or task == "reranker":
        return task
    raise InvalidInput(f"--task {task!r}: use embedding or reranker.", param="task")


def _hub(name: str | None) -> Hub | None:
    if name is None or name == "huggingface" or name == "modelscope":
        return name
    raise InvalidInput(f"--hub {name!r}: use huggingface or modelscope.", param="hub")
