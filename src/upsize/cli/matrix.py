"""`upsize matrix`."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import Annotated

import typer

from upsize.cli.console import print_table, results
from upsize.cli.machine_rates import measured_rates, noise_note
from upsize.cli.report import JSON, write_json
from upsize.progress import ProgressBar


def matrix(
    sizes: Annotated[list[str] | None, typer.Option(help="Sizes. Default: 0.6B 4B 8B.")] = None,
    dtype: Annotated[list[str] | None, typer.Option(help="Precisions. Default: the two that serve best here.")] = None,
    out: Annotated[Path, typer.Option(metavar="FOLDER", help="Cells, matrix.json and index.html.")] = Path("matrix"),
    weights: Annotated[
        list[str] | None, typer.Option(metavar="SIZE=FOLDER", help="Real weights of a size; may be repeated.")
    ] = None,
    whole: Annotated[bool, typer.Option("--whole", help="All layers in every cell; takes hours for 8B.")] = False,
    seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of repeated runs in a short cell.")] = 10.0,
    long_tokens: Annotated[int, typer.Option(min=32, max=32768, help="Tokens of the long text.")] = 32768,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda.")] = "auto",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would be measured, and for how long.")] = False,
    json: Annotated[Path | None, JSON] = None,
) -> None:
    """Measure what each size costs and gives on this machine, and recommend a use.

    Without --weights, random weights of the same shapes are measured: as fast, and as large. Of a large size, a few
    layers are measured, and scaled. A command that was stopped resumes when it is run again.

    - `upsize matrix`
    - `upsize matrix --sizes 0.6B 4B --dtype bfloat16 --out report/matrix`
    - `upsize matrix --weights 0.6B=./Qwen3-Embedding-0.6B --json -`
    """
    from upsize.catalog.published import SIZES
    from upsize.compute import this_machine
    from upsize.selection.matrix import (
        SIZE_TABLE_FILE,
        Cell,
        CellSettings,
        build_size_table,
        expected_seconds,
        print_size_table,
    )
    from upsize.selection.matrix.size_table import cells_to_measure, members_of, precisions_to_measure
    from upsize.selection.report import write_matrix

    settings = CellSettings(device, whole, seconds, long_tokens)
    real = _weights(weights or [])
    machine, chosen = this_machine(), members_of(sizes or SIZES)
    names = precisions_to_measure(dtype or (), machine, settings)
    rates = measured_rates(machine, settings.device, names)
    cells = cells_to_measure(chosen, names, machine, settings, real)
    left = [(m, c) for m, c in cells if not (out / "cells" / c.file).exists()]
    minutes = sum(expected_seconds(c, m, rates) for m, c in left) / 60
    typer.echo(
        f"{len(left)} of {len(cells)} cells to measure, about {minutes:.0f} minutes on a quiet machine.", err=True
    )
    if noise := noise_note(rates):
        typer.echo(noise, err=True)
    if dry_run:
        for member, cell in left:
            about = expected_seconds(cell, member, rates)
            typer.echo(
                f"{cell.size} {cell.precision} {cell.name}, {cell.layers} of {member.layers} layers: {about:.0f} s"
            )
        return
    with ProgressBar("measuring", total=len(cells), unit="cells") as bar:

        def each(cell: Cell, done: bool) -> None:
            bar.describe(f"{cell.size} {cell.precision} {cell.name}, {cell.layers} layers")
            bar.update(done)

        command = shlex.join(["upsize", *sys.argv[1:]])
        found = build_size_table([m.size for m in chosen], names, out, settings, real, command, each)
    write_matrix(out / SIZE_TABLE_FILE)
    if json is not None:
        write_json(json, found)
    if json is None or str(json) != "-":
        print_size_table(found, results(), print_table)


def _weights(given: list[str]) -> dict[str, str]:
    """Size → folder, of `SIZE=FOLDER`; wrong usage where one is no model of its size."""
    from upsize.model import open_checkpoint

    found = {}
    for entry in given:
        size, equals, folder = entry.partition("=")
        if not equals:
            raise typer.BadParameter(f"{entry!r}: write SIZE=FOLDER, as 0.6B=./my-model.", param_hint="--weights")
        member = open_checkpoint(folder, "embedding").member
        if member is None or member.size != size.upper():
            is_what = member.name if member else "of no published shape"
            raise typer.BadParameter(f"{folder} is {is_what}, not {size}.", param_hint="--weights")
        found[member.size] = str(Path(folder).absolute())
    return found
