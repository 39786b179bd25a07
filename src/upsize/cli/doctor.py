"""`upsize doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upsize.cli.console import print_table, results
from upsize.cli.machine_rates import measured_rates, noise_note
from upsize.cli.report import JSON, write_json
from upsize.progress import ProgressBar

if TYPE_CHECKING:
    from upsize.diagnostics import Diagnosis, Environment, Rates, SizeEstimate

SERVICE = "With --base-url"
MARKS = {"ok": "[green]ok[/]", "note": "[dim]note[/]", "wrong": "[bold red]wrong[/]"}
FITS = {"yes": "[green]fits[/]", "if memory is freed": "[yellow]too full[/]", "no": "[red]too large[/]"}


def doctor(
    base_url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="A running service's OpenAI base URL, such as http://host:30000/v1."),
    ] = None,
    model: Annotated[
        str | None, typer.Option(rich_help_panel=SERVICE, help="Model to check. Default: the first embedder.")
    ] = None,
    api_key: Annotated[
        str | None, typer.Option(rich_help_panel=SERVICE, envvar="UPSIZE_API_KEY", help="Bearer key of the service.")
    ] = None,
    dimensions: Annotated[
        int | None, typer.Option(rich_help_panel=SERVICE, min=1, help="Dimension of your index.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(rich_help_panel=SERVICE, min=0.1, help="Seconds to wait for one reply.")
    ] = 30.0,
    json: Annotated[Path | None, JSON] = None,
) -> None:
    """Report which sizes this machine can serve, or with --base-url what is wrong with a running service.

    Works against any OpenAI-compatible embeddings service. Exit code 0 when healthy, 1 when something is wrong.

    - `upsize doctor`
    - `upsize doctor --base-url http://localhost:30000/v1`
    - `upsize doctor --base-url https://host/v1 --model Qwen3-Embedding-0.6B --api-key KEY --dimensions 1024`
    """
    if base_url is None:
        if model or dimensions:
            raise typer.BadParameter("--model and --dimensions check a running service: add its --base-url.")
        _machine(json)
        return
    from upsize.diagnostics.diagnose_service import diagnose

    with ProgressBar(f"checking {base_url}"):
        found = diagnose(base_url, model=model, api_key=api_key, dimensions=dimensions, timeout=timeout)
    if json is not None:
        write_json(json, found.to_json())
    if json is None or str(json) != "-":
        _show_service(found)
    if not found.ok:
        raise typer.Exit(1)


def _show_service(found: Diagnosis) -> None:
    console = Console(highlight=False, soft_wrap=True)
    for finding in found.findings:
        console.print(f"{MARKS[finding.level]} {escape(finding.message)} {escape(finding.advice)}".rstrip())
    wrongs = sum(f.level == "wrong" for f in found.findings)
    console.print("[bold green]healthy[/]" if found.ok else f"[bold red]{wrongs} thing{'s' * (wrongs > 1)} wrong[/]")


def _machine(json: Path | None) -> None:
    """Print this machine, its measured rates, and the estimated memory and speed of each size."""
    from upsize.diagnostics import estimate_sizes, read_environment
    from upsize.diagnostics.environment import advice

    environment = read_environment()
    machine = environment.machine
    rates = measured_rates(machine)
    on_gpu = rates.device != "cpu"
    memory, free = (machine.gpus[0].memory,) * 2 if on_gpu else (machine.memory, machine.available)
    sizes = estimate_sizes(rates, memory, free)
    noise = noise_note(rates)
    lines = [*advice(environment), *([noise] if noise else [])]
    if json is not None:
        whole = {"environment": environment.to_json(), "rates": rates.to_json(), "advice": lines}
        write_json(json, whole | {"sizes": [e.to_json() for e in sizes]})
        if str(json) == "-":
            return
    _show_machine(environment, rates)
    _show_sizes(sizes, free)
    for line in lines:
        Console(highlight=False, soft_wrap=True).print(f"[yellow]note[/] {escape(line)}")


def _show_machine(environment: Environment, rates: Rates) -> None:
    machine = environment.machine
    packages = ", ".join(
        f"{name} {version or '[dim]not installed[/]'}" for name, version in environment.packages.items()
    )
    gpus = ", ".join(f"{escape(g.name)}, {g.memory / 1e9:.0f} GB" for g in machine.gpus) or "none"
    products, short = (
        ", ".join(f"{name} {'–'.join(f'{rate / 1e9:,.0f}' for rate in curve.values())}" for name, curve in of.items())
        for of in (rates.batch, rates.query)
    )
    table = Table(box=None, show_header=False, pad_edge=False)
    for name, value in (
        (
            "upsize",
            f"{environment.upsize}, Python {environment.python}, torch {environment.torch or 'not installed'}, "
            f"{environment.system}",
        ),
        ("processor", f"{escape(machine.processor)}, {machine.cores} cores, {environment.threads} threads compute"),
        ("bfloat16", "multiplied by the processor" if machine.bfloat16_products else "stored, multiplied as float32"),
        ("kernels", machine.kernels or "not built when upsize was installed (no compiler); torch computes instead"),
        ("memory", f"{machine.memory / 1e9:.1f} GB, {machine.available / 1e9:.1f} GB free"),
        ("GPUs", gpus),
        ("models", f"{escape(environment.cache)}, {environment.cache_free / 1e9:.0f} GB free on its disk"),
        ("optional", packages),
        (
            "measured",
            f"{rates.device}: layers of 0.6B–4B in GFLOP/s, a full batch {products}; a short query {short}; memory "
            f"{rates.read_bytes / 1e9:.1f} GB/s",
        ),
    ):
        table.add_row(f"[bold]{name}[/]", value)
    print_table(results(), table)


def _show_sizes(sizes: list[SizeEstimate], free: int) -> None:
    table = Table(
        box=None,
        pad_edge=False,
        title_justify="left",
        caption_justify="left",
        title=f"GB of weights + of work for the longest text, on {free / 1e9:.1f} GB free",
        caption="~ estimated from the measured rates, not measured",
    )
    table.add_column("size")
    table.add_column("precision")
    for length in sizes[0].work_bytes:
        table.add_column(f"{length} tokens", justify="right")
        table.add_column("")
    table.add_column("~tokens/s", justify="right")
    table.add_column("~query ms", justify="right")
    for e in sizes:
        cells = []
        for length, work in e.work_bytes.items():
            cells += [f"{e.weight_bytes / 1e9:.2f} + {work / 1e9:.2f}", FITS[e.fits[length]]]
        table.add_row(e.size, e.precision, *cells, f"{e.tokens_per_second:,.0f}", f"{e.query_ms:,.0f}")
    results().print()
    print_table(results(), table)
