"""Imports run downward: a package imports only itself and packages below it, and no two modules import each other."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import upsize

SOURCE = Path(upsize.__file__).parent
PACKAGES = (
    "cli", "server", "jobs", "migration", "index", "selection", "evaluation", "diagnostics", "store", "engine",
    "compute", "model", "catalog", "demo", "io", "progress", "number_format", "proxies", "fingerprint", "folders",
    "version", "errors",
)  # fmt: skip
"""From the top to the bottom. Single modules count as packages."""
ENTRY_POINTS = ("__init__", "__main__")
"""Modules of the package itself, which export names of any package. Nothing below imports them."""

FILES = sorted(SOURCE.rglob("*.py"))


def package_of(path: Path) -> str:
    return path.relative_to(SOURCE).parts[0].removesuffix(".py")


def imported(path: Path) -> Iterator[str]:
    """Packages that a file imports, within functions and under TYPE_CHECKING too."""
    package = ("upsize", *path.relative_to(SOURCE).parent.parts)
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


@pytest.mark.parametrize("path", FILES, ids=[p.relative_to(SOURCE).as_posix() for p in FILES])
def test_a_file_imports_its_own_package_and_those_below(path: Path) -> None:
    package = package_of(path)
    if package in ENTRY_POINTS:
        return
    below = PACKAGES[PACKAGES.index(package) :]
    assert set(imported(path)) <= set(below)


@pytest.mark.parametrize("path", FILES, ids=[p.relative_to(SOURCE).as_posix() for p in FILES])
def test_a_constant_has_one_value(path: Path) -> None:
    """A second assignment to one name silently changes what the lines between the two meant."""
    body = ast.parse(path.read_text(encoding="utf-8")).body
    targets = [t for node in body if isinstance(node, ast.Assign) for t in node.targets]
    targets += [node.target for node in body if isinstance(node, ast.AnnAssign)]
    names = [target.id for target in targets if isinstance(target, ast.Name)]
    assert sorted(names) == sorted(set(names))


def test_every_package_has_a_place_in_the_order() -> None:
    assert {package_of(path) for path in FILES} <= {*PACKAGES, *ENTRY_POINTS}


@pytest.mark.parametrize(
    ("code", "packages"),
    [
        ("import upsize.engine.pending as j", ["engine"]),
        ("from upsize import demo, errors", ["demo", "errors"]),
        ("def f():\n    from upsize.server.app import x", ["server"]),
        ("from ..engine import Engine", ["engine"]),
        ("from . import weights", ["model"]),
        ("import torch, json", []),
        ("import upsize\nprint(upsize.__version__, upsize.Embedder)", ["__version__", "Embedder"]),
    ],
)
def test_what_this_test_sees(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: str, packages: list[str]) -> None:
    monkeypatch.setattr("tests.test_imports.SOURCE", tmp_path)
    (tmp_path / "model").mkdir()
    path = tmp_path / "model" / "file.py"
    path.write_text(code)
    assert list(imported(path)) == packages


def modules() -> dict[str, Path]:
    """Dotted name → file."""
    names = {path: ".".join(path.relative_to(SOURCE.parent).with_suffix("").parts) for path in FILES}
    return {name.removesuffix(".__init__"): path for path, name in names.items()}


def module_imports(path: Path, known: set[str]) -> set[str]:
    """Modules of this project that a file imports, within functions and under TYPE_CHECKING too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            inner = (f"{node.module}.{alias.name}" for alias in node.names)
            found |= {name if name in known else node.module for name in inner}
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
    return found & known


def test_no_two_modules_import_each_other() -> None:
    known = modules()
    graph = {name: module_imports(path, set(known)) - {name} for name, path in known.items()}
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"modules import each other: {' → '.join(error.args[1])}")


def test_only_tests_of_benchmarks_and_of_documents_import_benchmarks() -> None:
    """Helpers that tests and benchmarks share are modules of `tests` itself, and import neither."""
    tests = Path(__file__).parent
    importing = {
        path.relative_to(tests).parts[0]
        for path in tests.rglob("*.py")
        for name in absolute_imports(path)
        if name.split(".")[0] == "benchmarks"
    }
    assert importing == {"benchmarks", "docs"}
    helpers = {
        name
        for path in (tests.parent / "benchmarks").rglob("*.py")
        for name in absolute_imports(path)
        if name.split(".")[0] == "tests"
    }
    assert helpers <= {"tests.checkpoints", "tests.postgres"}


def absolute_imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            yield node.module
        elif isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
