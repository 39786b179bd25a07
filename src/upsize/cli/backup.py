"""`upsize index backup` and `upsize index restore`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from upsize.cli.index_client import Name


def backup(
    name: Name,
    destination: Annotated[Path, typer.Argument(metavar="DEST", help="Folder to create.")],
    with_vectors: Annotated[
        bool,
        typer.Option("--with-vectors", help="Copy the vectors too. Without them a restore embeds every text again."),
    ] = False,
) -> None:
    """Copy an index of UPSIZE_INDEXES to a folder. A service may have it open and write to it meanwhile.

    ```
    upsize index backup docs /backups/docs-monday --with-vectors
    ```
    """
    from upsize.index import home
    from upsize.index.backup import back_up

    made = back_up(home() / name, destination, with_vectors=with_vectors)
    vectors = ", ".join(f"{count:,} vectors of {generation}" for generation, count in made.vectors.items())
    typer.echo(f"{destination}: {made.entries:,} journal entries, {vectors or 'no vectors'}.")
    if not with_vectors:
        typer.echo("A restore will embed every text again; --with-vectors copies the vectors.", err=True)


def restore(
    source: Annotated[Path, typer.Argument(metavar="SOURCE", help="Folder that `upsize index backup` made.")],
    name: Annotated[
        str | None, typer.Option(help="Name of the restored index. Default: its name in the backup.")
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="Another store; every text is embedded again there. Default: its store in the backup."),
    ] = None,
) -> None:
    """Restore an index from a backup into UPSIZE_INDEXES. It may exist beside the index that it is a copy of.

    ```
    upsize index restore /backups/docs-monday
    upsize index restore /backups/docs-monday --name docs-again
    ```
    """
    from upsize.index import home
    from upsize.index.backup import restore as restore_index

    state = restore_index(source, home(), name, store)
    typer.echo(f"{state.name} is restored. Its contents: upsize index status {state.name}")
