"""Examples from a command's help, printed after an error of usage."""

from __future__ import annotations

import re
from collections.abc import Sequence

from typer.core import TyperCommand, TyperGroup

SHOWN = 2
_EXAMPLE = re.compile(r"^\s*(?:- `)?(upsize [^`\n]*[^`\n\\])`?$", re.MULTILINE)


def examples_of(command: TyperCommand | TyperGroup) -> list[str]:
    """Return the example lines of a command's help."""
    return [re.sub(r"\s{2,}#", "  #", example.strip()) for example in _EXAMPLE.findall(command.help or "")]


def examples_for(root: TyperGroup, arguments: Sequence[str]) -> list[str]:
    """Return a few examples of the command that the arguments name; empty if they name none."""
    command: object = root
    for word in arguments:
        if not isinstance(command, TyperGroup):
            break
        command = command.commands.get(word, command)
    return examples_of(command)[:SHOWN] if isinstance(command, TyperCommand) else []
