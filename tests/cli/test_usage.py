"""What a new user types: the version, lists as people write them, and mistakes, each answered with the right form."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from typer.core import TyperCommand, TyperGroup
from typer.main import get_command

import upsize as package
from tests.cli.conftest import Ran
from upsize.cli.app import app
from upsize.cli.examples import examples_of
from upsize.cli.filters import filter_of
from upsize.errors import InvalidInput

Command = Callable[..., Ran]


def leaves(command: object, name: str = "upsize") -> Iterator[tuple[str, TyperCommand]]:
    if isinstance(command, TyperGroup):
        for word, below in command.commands.items():
            yield from leaves(below, f"{name} {word}")
    elif isinstance(command, TyperCommand):
        yield name, command


COMMANDS = dict(leaves(get_command(app)))


@pytest.mark.parametrize("name", COMMANDS)
def test_help_has_examples_of_the_command(name: str) -> None:
    examples = examples_of(COMMANDS[name])
    assert any(f"{example} ".startswith(f"{name} ") or f"| {name}" in example for example in examples), name


@pytest.mark.parametrize("option", ["--version", "-V"])
def test_the_version(upsize: Command, option: str) -> None:
    ran = upsize(option)
    assert (ran.code, ran.out) == (0, f"upsize {package.__version__}\n")


def test_the_help_of_all(upsize: Command) -> None:
    ran = upsize("--help")
    assert "Serve the Qwen3 Embedding and Reranker family" in ran.out
    assert "--version" in ran.out


@pytest.mark.parametrize(
    "models", [("demo-xs", "demo-s"), ("demo-xs,demo-s",), ("demo-xs, demo-s",), ("demo-xs", "--models", "demo-s,")]
)
def test_lists_of_models(monkeypatch: pytest.MonkeyPatch, upsize: Command, models: tuple[str, ...]) -> None:
    asked = []

    def answer(settings: object, **_: object) -> None:
        asked.append(settings)
        raise InvalidInput("enough")

    monkeypatch.setattr("upsize.selection.pipeline.run_choice", answer)
    upsize(
        "choose", "--data", "d.csv", "--models", *models, "--dims=32,64", "--depths", "5,10", "20", "--slices", "a,b"
    )
    (settings,) = asked
    assert (settings.models, settings.dims) == (("demo-xs", "demo-s"), (32, 64))
    assert (settings.depths, settings.slices) == ((5, 10, 20), ("a", "b"))


def test_a_folder_with_a_comma_is_one_model(monkeypatch: pytest.MonkeyPatch, upsize: Command, tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    ran = upsize("choose", "--data", tmp_path / "none.csv", "--models", tmp_path / "a,b")
    assert "none.csv: no such file or folder" in ran.err


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("lang=en", '{"lang": "en"}'),
        ("lang = en, year>=2020", '{"lang": "en", "year": {"gte": 2020}}'),
        ("year>2000,year<=2020", '{"year": {"gt": 2000, "lte": 2020}}'),
        ("{lang: en}", '{"lang": "en"}'),
        ("{'lang': 'en', 'n': 5}", '{"lang": "en", "n": 5}'),
        ("lang:en", '{"lang": "en"}'),
        ("price<1.5", '{"price": {"lt": 1.5}}'),
        ("uid=1746803573373870081", '{"uid": 1746803573373870081}'),
        ("{", '{"lang": "en", "year": {"gte": 2020}}'),
        ("[1]", '{"lang": "en", "year": {"gte": 2020}}'),
        ('"en"', '{"lang": "en", "year": {"gte": 2020}}'),
        ("[" * 100_000, '{"lang": "en", "year": {"gte": 2020}}'),
    ],
)
def test_a_filter_in_another_form_is_answered_with_the_right_one(typed: str, meant: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        filter_of(typed)
    assert str(caught.value).endswith(f"Write it so: --filter '{meant}'")
    assert filter_of(meant)


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("rerank", "docs.txt", "how do plants eat?"), "as in: upsize rerank 'how do plants eat?' docs.txt"),
        (("rerank", "docs.txt", "docs.txt"), "upsize would take its name for the query"),
        (("index", "add", "docs.txt", "docs"), "as in: upsize index add docs docs.txt"),
        (("index", "search", "docs", "x", "--filter", "lang=en"), """--filter '{"lang": "en"}'"""),
        (("embed", "docs.txt", "out.npy"), "For example: upsize embed docs.txt -o docs.npy"),
        (("doctor", "http://localhost:30000/v1"), "For example: upsize doctor --base-url http://localhost:30000/v1"),
        (("choose", "data/", "--models", "demo-s"), "For example: upsize choose --data"),
        (("evolve", "plan", "docs", "demo-m"), "For example: upsize evolve plan docs --to demo-m"),
        (("embde", "docs.txt"), "Did you mean 'embed'?"),
        (("embed", "docs.txt", "-o", "o.npy", "--format", "xml"), "'text', 'jsonl', 'csv', 'tsv', 'parquet'"),
        (("embed", "docs.txt", "-o", "o.npy", "-m", "demo-xs", "--dtype", "fp4"), "use auto, float32, bfloat16"),
        (("serve", "demo-xs", "--task", "foo"), "'embedding', 'reranker'"),
        (("serve", "demo-xs", "--log-level", "loud"), "use one of debug, info, warning, error"),
        (("choose", "--data", "docs.txt", "--models", "demo-xs", "--kind", "foo"), "retrieval, code search"),
        (("choose", "--data", "docs.txt", "--models", "demo-xs", "--recipe", "foo"), "Recipes: zh-news-clustering"),
        (("matrix", "--sizes", "3B"), "there are 0.6B, 4B, 8B"),
    ],
)
def test_mistakes_are_answered_with_the_right_form(
    upsize: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: tuple[str, ...], told: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs.txt").write_text("one\n")
    ran = upsize(*arguments)
    assert ran.code in (1, 2)
    assert told in ran.err, ran.err
