"""What the documents say is what the code and the results say."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from benchmarks import evolution, performance
from benchmarks.cards import pages
from benchmarks.page import READMES, filled
from upsize.model.input_lint import ADVICE
from upsize.server.dialects import OPERATIONS
from upsize.server.error_replies import STATUS
from upsize.server.metrics import Metrics

ROOT = Path(__file__).parents[2]
DOCUMENTS = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")]


@pytest.mark.parametrize("language", READMES)
def test_the_tables_are_those_of_the_results(language: str) -> None:
    text = READMES[language].read_text(encoding="utf-8")
    assert filled(text, language) == text, "run: python -m benchmarks.page"


def test_the_pages_of_the_demo_family_are_those_of_the_results() -> None:
    for path, text in pages().items():
        assert path.read_text(encoding="utf-8") == text, f"{path}: run: python -m benchmarks.cards"


def test_the_page_of_performance_is_that_of_the_results() -> None:
    assert performance.PAGE.read_text(encoding="utf-8") == performance.page(), "run: python -m benchmarks.performance"


def test_the_page_of_indexes_is_that_of_the_results() -> None:
    text = evolution.PAGE.read_text(encoding="utf-8")
    assert evolution.filled(text) == text, "run: python -m benchmarks.evolution"


def test_the_readmes_are_in_step() -> None:
    english, chinese = (READMES[k].read_text(encoding="utf-8") for k in ("en", "zh"))
    for pattern in (r"^#+ ", r"^```", r"^- \*?\*?", r"^\|"):
        count = [len(re.findall(pattern, text, re.MULTILINE)) for text in (english, chinese)]
        assert count[0] == count[1], pattern
    commands = [re.findall(r"`(upsize \w+)", text) for text in (english, chinese)]
    assert commands[0] == commands[1]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: p.name)
def test_links_lead_somewhere(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#]+)", document.read_text(encoding="utf-8")):
        if "://" not in target:
            assert (document.parent / target).exists(), target


def test_every_endpoint_error_and_metric_is_documented() -> None:
    api = "".join((ROOT / "docs" / page).read_text(encoding="utf-8") for page in ("api.md", "indexes.md"))
    for operation in OPERATIONS:
        for path in (re.sub(r":\w+}", "}", path) for path in operation.paths):
            assert f"`{path}`" in api or f" {path}`" in api, path
    for _, status, code in STATUS:
        assert re.search(rf"\| {status} \|.*`{code}`", api), code
    names = {family.name for family in Metrics().registry.collect()}
    for name in names:
        assert f"`{name}" in api, name
    for kind in ADVICE:
        assert f"`{kind}`" in api, kind


def test_every_command_is_in_the_readme() -> None:
    from upsize.cli.app import app

    readme = READMES["en"].read_text(encoding="utf-8")
    for command in app.registered_commands:
        assert f"`upsize {command.name}" in readme
    for group in app.registered_groups:
        assert f"`upsize {group.name}" in readme
        assert group.typer_instance is not None
        for command in group.typer_instance.registered_commands:
            assert command.callback is not None
            name = f"upsize {group.name} {command.callback.__name__}"
            assert name in (ROOT / "docs" / "indexes.md").read_text(encoding="utf-8"), name
