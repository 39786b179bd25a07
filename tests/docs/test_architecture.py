"""docs/architecture.md names packages, files and functions that exist."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "src" / "upsize"
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
FUNCTIONS = sorted(set(re.findall(r"`([\w/]+\.py):([\w.]+)`", PAGE)))
PATHS = sorted(set(re.findall(r"`((?:[\w-]+/)+(?:[\w-]+\.\w+)?|[\w-]+\.py)[`:]", PAGE)))


def names_of(file: Path) -> set[str]:
    """Functions, classes and `Class.method` of a file."""
    definitions = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    names = set()
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        if isinstance(node, definitions):
            names.add(node.name)
            names |= {f"{node.name}.{part.name}" for part in node.body if isinstance(part, definitions)}
    return names


@pytest.mark.parametrize(("file", "function"), FUNCTIONS, ids=[f"{file}:{function}" for file, function in FUNCTIONS])
def test_a_function_of_the_page_exists(file: str, function: str) -> None:
    assert function in names_of(SOURCE / file)


@pytest.mark.parametrize("path", PATHS)
def test_a_path_of_the_page_exists(path: str) -> None:
    places = (SOURCE / path, SOURCE / "compute" / "native" / path, ROOT / path)
    assert "NAME" in path or any(place.exists() for place in places)


def test_every_package_has_a_line() -> None:
    packages = {path.name for path in SOURCE.iterdir() if (path / "__init__.py").exists()}
    modules = {path.name for path in SOURCE.glob("*.py")} - {"__init__.py", "__main__.py", "version.py"}
    assert all(f"`{name}/`" in PAGE for name in packages)
    assert all(f"`{name}`" in PAGE for name in modules)
