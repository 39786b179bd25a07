"""The `upsize` command: one file per subcommand; errors are printed in one line."""

from __future__ import annotations

import errno
import io
import sys
from typing import Annotated, cast

import typer
from rich.console import Console
from typer.core import TyperGroup
from typer.main import get_command

from upsize.cli import choose, doctor, embed, evolve, index, matrix, rerank, serve, verify
from upsize.cli.examples import examples_for
from upsize.cli.list_options import SeveralValues
from upsize.errors import UpsizeError
from upsize.version import __version__

app = typer.Typer(
    name="upsize",
    help="Serve the Qwen3 Embedding and Reranker family, know when a larger size pays, move up without downtime.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("embed")(embed.embed)
app.command("rerank")(rerank.rerank)
app.command("choose", cls=SeveralValues)(choose.choose)
app.add_typer(index.app, name="index")
app.add_typer(evolve.app, name="evolve")
app.command("verify")(verify.verify)
app.command("matrix", cls=SeveralValues)(matrix.matrix)
app.command("doctor")(doctor.doctor)


WRONG_USAGE = 2
"""Exit code of wrong usage."""


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(f"upsize {__version__}")
        raise typer.Exit


@app.callback(help=app.info.help)
def root(
    version: Annotated[
        bool, typer.Option("--version", "-V", is_eager=True, callback=_print_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """Options before a command."""


def main() -> None:
    """Run the command line. Exit code 0: success; 1: failure, with one line on standard error; 2: wrong usage."""
    for stream in (sys.stdout, sys.stderr):  # characters that their encoding lacks
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except SystemExit as stop:
        if stop.code == WRONG_USAGE:
            for example in examples_for(cast(TyperGroup, get_command(app)), sys.argv[1:]):
                sys.stderr.write(f"For example: {example}\n")
        raise
    except (UpsizeError, OSError) as error:
        Console(stderr=True).print("[bold red]error[/]:", end=" ")
        sys.stderr.write(f"{_message(error)}\n")
        sys.exit(1)


def _message(error: UpsizeError | OSError) -> str:
    """The message of an error; for an error of the system the file first, and advice."""
    if isinstance(error, UpsizeError) or error.filename is None or error.strerror is None:
        return str(error) or type(error).__name__
    denied = isinstance(error, PermissionError) or error.errno == errno.EROFS
    return f"{error.filename}: {error.strerror}." + (" Choose another place, or run as its owner." if denied else "")
