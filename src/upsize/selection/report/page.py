"""index.html: one file whose only links are verdict.json and the runs beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from markupsafe import Markup

from upsize.io.atomic import write_atomic
from upsize.number_format import short
from upsize.selection.report.size_table import size_table_section
from upsize.selection.report.tables import (
    candidate_table,
    confidence,
    difference_table,
    facts,
    headline,
    load_table,
    slice_table,
    unit_noun,
)
from upsize.selection.report.templates import render
from upsize.selection.report.verdict_pictures import pictures_of
from upsize.selection.verdict import Verdict


def report_verdict(verdict: Verdict, folder: Path) -> Path:
    """Write `verdict.json` and `index.html` to `folder`; the page's path. A table of sizes that `upsize matrix` left in
    `folder`/matrix is shown too."""
    text = json.dumps(verdict.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / "verdict.json", text.encode("utf-8") + b"\n")
    matrix = folder / "matrix" / "matrix.json"
    return write_report(folder, matrix if matrix.exists() else None)


def write_report(folder: Path, matrix: Path | None = None) -> Path:
    """Write `index.html` beside the `verdict.json` in `folder`; the page's path.

    `matrix` is a matrix.json of `upsize matrix` to show too. Raises FileNotFoundError without a verdict, ValueError for
    one of another schema.
    """
    verdict = Verdict.read(folder / "verdict.json")
    sizes = json.loads(matrix.read_text(encoding="utf-8")) if matrix is not None else None
    path = folder / "index.html"
    write_atomic(path, page(verdict, sizes).encode())
    return path


def write_matrix(path: Path) -> Path:
    """Write `index.html` beside a `matrix.json`; the page's path."""
    matrix = json.loads(path.read_text(encoding="utf-8"))
    page = path.with_name("index.html")
    write_atomic(page, document("The sizes on this machine", size_table_section(matrix)).encode())
    return page


def page(verdict: Verdict, matrix: Mapping[str, Any] | None = None) -> str:
    """The whole page. Pure."""
    body = render(
        "verdict.html.jinja",
        v=verdict,
        headline=headline,
        unit_noun=unit_noun,
        short=short,
        confidence=confidence(verdict),
        facts=facts(verdict),
        pictures=pictures_of(verdict),
        candidates=candidate_table(verdict),
        differences=difference_table(verdict),
        loads=load_table(verdict),
        slices=slice_table(verdict),
        size_table="" if matrix is None else size_table_section(matrix),
        runs=[c for c in verdict.candidates if c.run],
    )
    return document(f"Which size? {verdict.task.name}: {verdict.choice or 'none'}", body)


def document(title: str, body: str) -> str:
    """A self-contained page around `body`, which is HTML."""
    return str(render("document.html.jinja", title=title, body=Markup(body)))
