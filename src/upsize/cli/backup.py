"""`upsize index backup` and `upsize index restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upsize.cli.index_client import Name


def backup(
    name: Name,
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="A folder that is not there yet.")],
    with_vectors: Annotated[
        bool, typer.Option("--with-vectors", help="Copy the vectors too; without them a restore embeds every text.")
    ] = False,
) -> None:
    """Copy an index of UPSIZE_INDEXES to a folder, also while a service has it open and writes to it.

    ```
    upsize index backup docs /backups/docs-monday --with-vectors
    ```
    """
    from upsize.index import home
    from upsize.index.backup import back_up

    made = back_up(home() / name, destination, with_vectors=with_vectors)
    told = ", ".join(f"{count:,} vectors of {generation}" for generation, count in made.vectors.items())
    typer.echo(f"{destination}: {made.entries:,} journal entries, {told or 'no vectors'}.")
    if not with_vectors:
        typer.echo("A restore will embed every text again; --with-vectors copies the vectors.", err=True)


def restore(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="What `upsize index backup` made.")],
    name: Annotated[str | None, typer.Option(help="Call it otherwise than it was.")] = None,
    store: Annotated[
        str | None, typer.Option(help="Another store than it had; its vectors are made again there.")
    ] = None,
) -> None:
    """Make an index of UPSIZE_INDEXES from a backup. It may stand beside the one that it is a copy of.

    ```
    upsize index restore /backups/docs-monday
    upsize index restore /backups/docs-monday --name docs-again
    ```
    """
    from upsize.index import home
    from upsize.index.backup import restore as restore_index

    state = restore_index(source, home(), name, store)
    typer.echo(f"{state.name} is there. Look what it holds: upsize index status {state.name}")
