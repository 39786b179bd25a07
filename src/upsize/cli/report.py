"""What commands that report have in common: `--json FILE`, or `-` for standard output."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import typer

JSON = typer.Option("--json", metavar="FILE", help="Write the result as JSON too; - prints it instead of the table.")


def write_json(path: Path, value: dict[str, Any]) -> None:
    """Write `value` to the file, or to standard output where it is called `-`. NaN has no place in JSON: ValueError."""
    text = json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    if str(path) == "-":
        sys.stdout.write(text)
    else:
        path.write_text(text, encoding="utf-8")
