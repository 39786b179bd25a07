"""Options that take several values after one flag."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from typer.core import TyperCommand


class SeveralValues(TyperCommand):
    """Accepts `--models a b c` and `--models a,b,c` for `--models a --models b --models c`."""

    MANY = frozenset(
        ("--models", "--rerankers", "--dims", "--depths", "--precisions", "--slices", "--sizes", "--dtype")
    )

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Repeat the option before each further value."""
        spread: list[str] = []
        option = None
        for word in args:
            name, equals, value = word.partition("=")
            if word.startswith("-"):
                option = name if name in self.MANY else None
                if option is None:
                    spread.append(word)
                elif equals:
                    spread += _each(option, value)
            elif option is None:
                spread.append(word)
            else:
                spread += _each(option, word)
        return super().parse_args(ctx, spread)


def _each(option: str, value: str) -> Iterator[str]:
    """Yield the option before every value of a comma-separated list; a path that exists is one value."""
    values = [value] if Path(value).exists() else [part for part in value.split(",") if part.strip()]
    for part in values:
        yield from (option, part.strip())
