"""What models are called: by their last part, by the whole, or as the user says; a name belongs to one of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from upsize.errors import InvalidInput
from upsize.server import parse_models


@pytest.mark.parametrize(
    ("given", "name", "aliases"),
    [
        ("Qwen/Qwen3-Embedding-0.6B", "Qwen3-Embedding-0.6B", ("Qwen/Qwen3-Embedding-0.6B",)),
        ("/models/mine/", "mine", ("/models/mine/",)),
        ("fast=/models/mine", "fast", ("mine", "/models/mine")),
        ("demo-m", "demo-m", ()),
        ("fast=/models/size=0.6b", "fast", ("size=0.6b", "/models/size=0.6b")),
        ("/c/hub/models--Qwen--Qwen3-Embedding-4B/snapshots/0123abc", "Qwen3-Embedding-4B", None),
    ],
)
def test_a_model_is_called(given: str, name: str, aliases: tuple[str, ...] | None) -> None:
    (one,) = parse_models([given])
    assert one.name == name
    assert aliases is None or one.aliases == aliases


def test_a_folder_with_an_equals_sign_and_one_that_is_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "size=0.6b"
    folder.mkdir()
    monkeypatch.chdir(folder)
    for given in (str(folder), "."):
        (one,) = parse_models([given])
        assert (one.name, one.path) == ("size=0.6b", given)


def test_served_names_win() -> None:
    assert [w.name for w in parse_models(["a/x", "b/y"], ["one", "two"])] == ["one", "two"]


def test_an_alias_of_two_models_belongs_to_neither() -> None:
    first, second = parse_models(["one=a/x", "two=b/x"])
    assert first.aliases == ("a/x",)
    assert second.aliases == ("b/x",)


def test_an_alias_gives_way_to_a_name() -> None:
    first, second = parse_models(["x=a/y", "y=b/z"])
    assert first.aliases == ("a/y",)
    assert second.name == "y"


def test_two_models_of_one_name_are_refused() -> None:
    with pytest.raises(InvalidInput, match="NAME=MODEL"):
        parse_models(["a/x", "b/x"])
