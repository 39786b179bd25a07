"""Examples of a command, from its own help: shown beside an error of usage."""

from __future__ import annotations

import re
from collections.abc import Sequence

from typer.core import TyperCommand, TyperGroup

SHOWN = 2
_EXAMPLE = re.compile(r"^\s*(?:- `)?(upsize [^`\n]*[^`\n\\])`?$", re.MULTILINE)


def examples_of(command: TyperCommand | TyperGroup) -> list[str]:
    """The lines of a command's help that one can type."""
    return [re.sub(r"\s{2,}#", "  #", example.strip()) for example in _EXAMPLE.findall(command.help or "")]


def examples_for(root: TyperGroup, arguments: Sequence[str]) -> list[str]:
    """A few examples of the command that the arguments call; none where they call no command."""
    command: object = root
    for word in arguments:
        if not isinstance(command, TyperGroup):
            break
        command = command.commands.get(word, command)
    return examples_of(command)[:SHOWN] if isinstance(command, TyperCommand) else []
