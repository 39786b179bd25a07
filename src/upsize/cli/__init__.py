"""The command line: one thin file a command."""

from upsize.cli.app import main

__all__ = ["main"]
