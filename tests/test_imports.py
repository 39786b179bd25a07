"""Imports run downward through the house: a room knows only the rooms below it."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import upsize

HOUSE = Path(upsize.__file__).parent
ROOMS = (
    "cli", "server", "bulk", "evolve", "choose", "measure", "store", "engine", "compute", "model", "catalog", "demo",
    "io", "progress", "figures", "proxies", "space", "folders", "errors",
)  # fmt: skip
"""From the roof to the ground."""
FRONT_DOORS = ("__init__", "__main__")
"""Files that stand before the house and hand out names of any room; a room takes nothing from them but the version."""

FILES = sorted(HOUSE.rglob("*.py"))


def room_of(path: Path) -> str:
    return path.relative_to(HOUSE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Rooms that a file imports, anywhere in it: within functions and for type checkers too."""
    package = ("upsize", *path.relative_to(HOUSE).parent.parts)
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            module = ".".join(package[: len(package) - node.level + 1]) + "." if node.level else ""
            module = (module + (node.module or "")).rstrip(".")
            names = [f"{module}.{alias.name}" for alias in node.names] if module == "upsize" else [module]
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
            names = [f"{node.value.id}.{node.attr}"]
        else:
            continue
        for name in names:
            first, *rest = name.split(".")
            if first == "upsize" and rest:
                yield rest[0]


@pytest.mark.parametrize("path", FILES, ids=[p.relative_to(HOUSE).as_posix() for p in FILES])
def test_a_file_imports_its_own_room_and_those_below(path: Path) -> None:
    room = room_of(path)
    if room in FRONT_DOORS:
        return
    below = ROOMS[ROOMS.index(room) :]
    assert set(imported(path)) - {"__version__"} <= set(below)


@pytest.mark.parametrize("path", FILES, ids=[p.relative_to(HOUSE).as_posix() for p in FILES])
def test_a_constant_has_one_value(path: Path) -> None:
    """A second assignment to one name silently changes what the lines between the two meant."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    targets = [t for node in body if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in body if isinstance(node, ast.AnnAssign)]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    assert sorted(names) == sorted(set(names))


def test_every_room_stands_in_the_plan() -> None:
    assert {room_of(path) for path in FILES} <= {*ROOMS, *FRONT_DOORS}


@pytest.mark.parametrize(
    ("code", "rooms"),
    [
        ("import upsize.engine.job as j", ["engine"]),
        ("from upsize import demo, errors", ["demo", "errors"]),
        ("def f():\n    from upsize.server.app import x", ["server"]),
        ("from ..engine import Engine", ["engine"]),
        ("from . import weights", ["model"]),
        ("import torch, json", []),
        ("import upsize\nprint(upsize.__version__, upsize.Embedder)", ["__version__", "Embedder"]),
    ],
)
def test_what_this_test_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, rooms: list[str]) -> None:
    monkeypatch.setattr("tests.test_imports.HOUSE", tmp_path)
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "file.py"
    path.write_text(code)
    assert list(imported(path)) == rooms
