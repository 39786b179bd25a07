"""The option `--json FILE` of commands that report; `-` is standard output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer

JSON = typer.Option("--json", metavar="FILE", help="Also write the result as JSON; - prints JSON instead of the table.")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` to the file, or to standard output for `-`. Raises ValueError for NaN, which JSON lacks."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        path.write_text(text, encoding="utf-8")
