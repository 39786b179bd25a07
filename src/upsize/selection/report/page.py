"""index.html: one file with no address in it but those of the verdict and the runs beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from upsize.io.atomic import write_atomic
from upsize.selection.report import sections
from upsize.selection.report.matrix_page import matrix_section
from upsize.selection.verdict import Verdict

_STYLE = Path(__file__).with_name("style.css")


def write_report(folder: Path, matrix: Path | None = None) -> Path:
    """Write `index.html` beside the `verdict.json` in `folder`; where it is.

    `matrix` is a matrix.json of `upsize matrix` to show too. Raises FileNotFoundError without a verdict, ValueError for
    one of another schema.
    """
    verdict = Verdict.read(folder / "verdict.json")
    told = json.loads(matrix.read_text(encoding="utf-8")) if matrix is not None else None
    path = folder / "index.html"
    write_atomic(path, page(verdict, told).encode())
    return path


def report_verdict(verdict: Verdict, folder: Path) -> Path:
    """Write `verdict.json` and `index.html` to `folder`; the page's path. A table of sizes that `upsize matrix` left in
    `folder`/matrix is shown too."""
    text = json.dumps(verdict.to_json(), indent=2, ensure_ascii=False, allow_nan=False)
    write_atomic(folder / "verdict.json", text.encode("utf-8") + b"\n")
    matrix = folder / "matrix" / "matrix.json"
    return write_report(folder, matrix if matrix.exists() else None)


def write_matrix(path: Path) -> Path:
    """Write `index.html` beside a `matrix.json`; where it is."""
    matrix = json.loads(path.read_text(encoding="utf-8"))
    page = path.with_name("index.html")
    write_atomic(page, document("The sizes on this machine", matrix_section(matrix)).encode())
    return page


def page(verdict: Verdict, matrix: Mapping[str, Any] | None = None) -> str:
    """The whole page. Pure."""
    body = (
        sections.headline(verdict),
        sections.quality(verdict),
        sections.differences(verdict),
        sections.latency(verdict),
        sections.slices(verdict),
        "" if matrix is None else matrix_section(matrix),
        sections.how(verdict),
    )
    return document(f"Which size? {verdict.task.name}: {verdict.choice or 'none'}", "".join(body))


def document(title: str, body: str) -> str:
    """A self-contained page around `body`."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>"
        '<link rel="icon" href="data:,">'
        f"<style>{_STYLE.read_text(encoding='utf-8')}</style></head>\n<body><main>{body}</main></body></html>\n"
    )
