"""Every name that a room hands out is there, in order, and the front door opens without torch."""

from __future__ import annotations

import importlib
import pkgutil
import subprocess
import sys

import pytest

import upsize

ROOMS = ["upsize", *(f"upsize.{m.name}" for m in pkgutil.iter_modules(upsize.__path__) if not m.name.startswith("_"))]


def test_what_upsize_hands_out() -> None:
    assert upsize.__all__ == [
        "Embedder", "Fingerprint", "Ranked", "Reranker", "Verdict", "__version__", "choose", "errors",
    ]  # fmt: skip


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_hands_out_names_that_exist_in_order(name: str) -> None:
    room = importlib.import_module(name)
    names = list(getattr(room, "__all__", ()))
    assert [n for n in names if not hasattr(room, n)] == []
    constants, classes = [n for n in names if n.isupper()], [n for n in names if n[0].isupper() and not n.isupper()]
    others = [n for n in names if not n[0].isupper()]
    assert names == [*sorted(constants), *sorted(classes), *sorted(others)], "constants, classes, the rest"
    assert len(set(names)) == len(names)
    assert room.__doc__, "a room says what it is for"


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="module 'upsize' has no attribute 'Embeder'"):
        upsize.Embeder  # noqa: B018


def test_importing_upsize_does_not_import_torch() -> None:
    code = "import sys, upsize, upsize.catalog, upsize.errors, upsize.demo; print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
