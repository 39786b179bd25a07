"""The report: whole, self-contained, readable, and every figure in it that of the JSON."""

from __future__ import annotations

import base64
import json
import re
import shutil
import subprocess
from dataclasses import replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tests.selection.verdicts import a_hard_verdict, a_matrix, a_verdict
from upsize.selection.report import page, write_report
from upsize.selection.report.page import document
from upsize.selection.report.pictures import cost_axis, frontier, slice_rows
from upsize.selection.report.size_table import size_table_section
from upsize.selection.report.svg import Drawing, scale, shortened, width_of
from upsize.selection.verdict import Interval, SliceVerdict, Verdict

VOID = {"meta", "link", "br", "img"}
STYLE = Path(__file__).parents[2] / "src" / "upsize" / "selection" / "report" / "templates" / "style.css"
VERDICTS = {
    "full": a_verdict(),
    "bare": a_verdict(bare=True),
    "two": a_verdict(many=2),
    "one": a_verdict(many=1),
}


class Reader(HTMLParser):
    """Checks that tags close in order; keeps ids, links, exact values, and the text that carries none."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[tuple[str, dict[str, str | None]]] = []
        self.ids: list[str] = []
        self.named_by: list[str] = []
        self.links: list[str] = []
        self.values: list[str] = []
        self.loose: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        told = dict(attrs)
        assert len(told) == len(attrs), f"an attribute twice in <{tag}>"
        if tag not in VOID:
            self.open.append((tag, told))
        self._look(told)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self._look(dict(attrs))

    def _look(self, told: dict[str, str | None]) -> None:
        self.ids += [told["id"]] if told.get("id") else []  # type: ignore[list-item]
        self.named_by += (told.get("aria-labelledby") or "").split()
        self.links += [told[k] or "" for k in ("href", "src") if k in told]
        self.values += [told[k] or "" for k in ("value", "data-value") if k in told]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop()[0] == tag, f"</{tag}> out of order"

    def handle_data(self, data: str) -> None:
        inside = [t for t, _ in self.open]
        if not inside or inside[-1] in ("style", "data") or not data.strip():
            return
        told = self.open[-1][1]
        if "data-value" not in told and told.get("class") != "tick":
            self.loose.append(data)


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert reader.open == []
    return reader


def leaves(value: Any) -> list[Any]:
    if isinstance(value, dict):
        return [x for v in value.values() for x in leaves(v)]
    if isinstance(value, list | tuple):
        return [x for v in value for x in leaves(v)]
    return [value]


@pytest.fixture(params=VERDICTS)
def verdict(request: pytest.FixtureRequest) -> Verdict:
    return VERDICTS[str(request.param)]


def test_it_is_well_formed_and_names_its_pictures(verdict: Verdict) -> None:
    reader = read(page(verdict))
    assert len(set(reader.ids)) == len(reader.ids)
    assert set(reader.named_by) <= set(reader.ids)
    assert reader.named_by


def test_nothing_is_fetched(verdict: Verdict) -> None:
    html = page(verdict)
    runs = {f"{c.run}/run.json" for c in verdict.candidates}
    assert set(read(html).links) <= runs | {"verdict.json", "data:,"}
    assert "http" not in html
    assert "url(" not in html
    assert "<script" not in html


def test_every_figure_is_in_the_json(verdict: Verdict) -> None:
    told = leaves(json.loads(json.dumps(verdict.to_json())))
    numbers = {repr(x) for x in told if isinstance(x, int | float) and not isinstance(x, bool)}
    counted = {repr(len(verdict.differences))}
    reader = read(page(verdict))
    assert set(reader.values) <= numbers | counted
    assert len(reader.values) > 10
    words = " ".join(str(x) for x in told if isinstance(x, str))
    fixed = f"{100 * verdict.confidence:g} % p50 p95 p99 p95 ±"
    for text in reader.loose:
        for number in re.findall(r"\d[\d.,]*", text):
            assert number.rstrip(".,") in f"{words} {fixed}", (number, text)


def test_the_choice_and_its_reason_come_first(verdict: Verdict) -> None:
    html = page(verdict)
    assert html.index("<h1>") < html.index("<svg")
    start = {"go_up": "Go up to", "cannot_tell": "Cannot tell yet"}[verdict.decision]
    assert f"<h1>{start}" in html


def test_nothing_feasible_has_a_page_too() -> None:
    told = a_verdict(bare=True).to_json() | {"choice": None, "runner_up": None}
    html = page(Verdict.from_json(told))
    assert "Nothing here is feasible" in html
    read(html)


def test_candidates_of_equal_work_are_told_apart_by_their_vectors() -> None:
    same = [replace(c, flops_a_query=1e9) for c in VERDICTS["bare"].candidates]
    assert cost_axis(replace(VERDICTS["bare"], candidates=tuple(same)))[1] == "bytes a vector"
    assert cost_axis(VERDICTS["bare"])[1] == "GFLOP a query"
    assert cost_axis(VERDICTS["full"])[1] == "price of a million queries"


def test_a_slice_with_no_better_candidate_has_its_own_name() -> None:
    told = SliceVerdict("script=cjk", 99, "as_all", 0.6, None, Interval(-0.04, -0.06, -0.02))
    assert [r.name for r in slice_rows(replace(VERDICTS["full"], slices=(told,)))] == ["script=cjk"]


def test_what_is_allowed_is_drawn_where_it_was_asked_for() -> None:
    assert page(VERDICTS["full"]).count("p95 allowed: 300 ms") == 2  # wide and narrow
    assert "allowed:" not in page(replace(VERDICTS["full"], limits={}))


def test_text_of_users_is_text() -> None:
    html = page(VERDICTS["full"])
    assert "data/&lt;mine&gt; &amp; yours" in html
    assert "<mine>" not in html


def test_it_is_written_beside_the_verdict(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text(json.dumps(VERDICTS["full"].to_json()))
    path = write_report(tmp_path)
    assert path == tmp_path / "index.html"
    assert path.read_text(encoding="utf-8") == page(VERDICTS["full"])
    (tmp_path / "verdict.json").write_text(json.dumps(VERDICTS["full"].to_json() | {"schema": 99}))
    with pytest.raises(ValueError, match="schema"):
        write_report(tmp_path)


@pytest.mark.parametrize(
    ("points", "kept"),
    [
        ([(1, 0.5), (2, 0.6), (3, 0.55), (4, 0.7)], [0, 1, 3]),
        ([(2, 0.5), (1, 0.6)], [1]),
        ([(1, 0.5), (1, 0.6)], [1]),
        ([(1, 0.5), (2, 0.5)], [0]),
    ],
)
def test_the_pareto_line(points: list[tuple[float, float]], kept: list[int]) -> None:
    assert frontier(points) == kept


@pytest.mark.parametrize(
    ("values", "log", "ticks"),
    [
        ([0.5, 0.7], False, [0.5, 0.55, 0.6, 0.65, 0.7]),
        ([2.0, 200.0], True, [2, 5, 10, 20, 50, 100, 200]),
        ([3.0, 3.0], False, [2.8, 2.9, 3.0, 3.1, 3.2]),
        ([0.0, 0.0], False, [0.0, 0.5]),
    ],
)
def test_ticks_are_round(values: list[float], log: bool, ticks: list[float]) -> None:
    s = scale(values, 0, 100, log=log)
    found = s.ticks(8)
    assert set(ticks) & set(found) or found
    assert len(found) <= 9
    assert all(s.low <= t <= s.high for t in found)
    assert all(len(f"{t:.10g}") <= 6 for t in found)


def test_labels_keep_out_of_each_others_way() -> None:
    d = Drawing(300, 200)
    for i in range(4):
        d.point(100 + i, 100 + i, "mark", f"p{i}")
    for i in range(4):
        d.label(100 + i, 100 + i, f"candidate {i}")
    boxes = d.labels
    for i, a in enumerate(boxes):
        for b in boxes[:i]:
            across = min(a[2], b[2]) - max(a[0], b[0])
            down = min(a[3], b[3]) - max(a[1], b[1])
            assert across <= 0 or down <= 2


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("theme", [0, 1], ids=["light", "dark"])
def test_text_has_contrast(theme: int) -> None:
    """4.5 : 1, as WCAG 2.2 AA asks of text; 3 : 1 of marks."""
    block = re.findall(r":root \{(.*?)\}", STYLE.read_text(encoding="utf-8"), re.DOTALL)[theme]
    colours = dict(re.findall(r"--([\w-]+): (#\w{6});", block))
    for back in ("paper", "card"):
        for front, least in (("ink", 4.5), ("muted", 4.5), ("accent", 4.5), ("warm", 4.5), ("other", 3.0)):
            low, high = sorted(_luminance(colours[c]) for c in (front, back))
            assert (high + 0.05) / (low + 0.05) >= least, (front, back)


CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
PROBE = """<script>
const root = document.documentElement, shown = [...document.querySelectorAll("svg")].filter(s => s.clientWidth > 0);
const leaves = (t, b) => t.left < b.left - 3 || t.right > b.right + 3;
const cut = s => [...s.querySelectorAll("text")].filter(
  t => leaves(t.getBoundingClientRect(), s.getBoundingClientRect())).map(t => t.textContent);
const gap = (x, y, b) => Math.hypot(Math.max(b.left - x, 0, x - b.right), Math.max(b.top - y, 0, y - b.bottom));
const loose = s => [...s.querySelectorAll("text.label")].filter(t => {
  const name = (t.querySelector("title") || t).textContent, box = t.getBoundingClientRect();
  const marks = [...s.querySelectorAll("circle")].filter(c => c.textContent === name);
  const leaders = [...s.querySelectorAll("line.leader")];
  return marks.length > 0 && !marks.some(c => {
    const m = c.getBoundingClientRect(), x = (m.left + m.right) / 2, y = (m.top + m.bottom) / 2;
    return gap(x, y, box) < 20 || leaders.some(l => {
      const b = l.getBoundingClientRect();
      return gap(x, y, b) < 3 && gap(b.left, b.top, box) + gap(b.right, b.bottom, box) < 90;
    });
  });
}).map(t => t.textContent);
document.querySelectorAll("details").forEach(d => { d.open = true; });
const tables = [...document.querySelectorAll(".scroll")].map(s => {
  const box = s.getBoundingClientRect();
  return {beyond: box.left < 0 || box.right > root.clientWidth, wide: s.scrollWidth > s.clientWidth,
    bar: s.offsetHeight - s.clientHeight, flows: getComputedStyle(s).overflowX};
});
parent.document.body.setAttribute(frameElement.id, btoa(unescape(encodeURIComponent(JSON.stringify({
  overflow: root.scrollWidth - root.clientWidth, pictures: shown.length, cut: shown.flatMap(cut),
  loose: shown.flatMap(loose), tables, background: getComputedStyle(document.body).backgroundColor})))));
</script>"""
WIDTHS = (390, 1200, 1280)
LOOKED_AT = {
    "full": page(VERDICTS["full"]),
    "hard": page(a_hard_verdict()),
    "matrix": document("Sizes", size_table_section(a_matrix())),
}


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium here: install the package chromium to look at the page")
@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
def test_in_a_browser(tmp_path: Path, dark: bool) -> None:
    """On a phone and on a desk: frames of each width, for a window cannot be as narrow as a phone."""
    assert CHROMIUM is not None
    frames = ""
    for name, html in LOOKED_AT.items():
        inner = escape(html.replace("</body>", f"{PROBE}</body>"), quote=True)
        for w in WIDTHS:
            frames += f'<iframe id="{name}-{w}" srcdoc="{inner}" style="width:{w}px;height:900px;border:0"></iframe>'
    path = tmp_path / "frames.html"
    path.write_text(f"<!doctype html><meta charset=utf-8><body>{frames}</body>", encoding="utf-8")
    flags = ["headless", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "disable-background-networking"]
    flags += ["disable-component-update", "disable-sync", "window-size=1400,2000"]
    flags += ["blink-settings=preferredColorScheme=0"] if dark else []
    command = [CHROMIUM, *(f"--{f}" for f in flags), f"--user-data-dir={tmp_path / 'profile'}", "--dump-dom"]
    ran = subprocess.run([*command, path.as_uri()], capture_output=True, text=True, timeout=110, check=True)
    for name in LOOKED_AT:
        for width in WIDTHS:
            told = re.search(rf' {name}-{width}="([^"]+)"', ran.stdout)
            assert told is not None, (name, width)
            seen = json.loads(base64.b64decode(told[1]))
            assert seen["overflow"] == 0, f"{name} scrolls sideways at {width}"
            assert seen["pictures"] == (0 if name == "matrix" else 5), "one of each picture's two widths is shown"
            assert seen["cut"] == [], f"text leaves its picture at {width}"
            assert seen["loose"] == [], f"labels away from their points at {width}"
            assert seen["background"] == ("rgb(22, 23, 26)" if dark else "rgb(255, 253, 249)")
            assert len(seen["tables"]) >= 4
            for table in seen["tables"]:
                assert not table["beyond"], f"{name}: a table beyond the page at {width}"
                assert table["flows"] == "auto"
                assert table["bar"] >= 8 or not table["wide"], f"{name}: a wide table without a scrollbar at {width}"


@pytest.mark.parametrize("verdict", [a_hard_verdict(), *VERDICTS.values()])
def test_numbers_are_plain_and_open_ends_said(verdict: Verdict) -> None:
    html = page(verdict)
    text = re.sub(r"<style>.*?</style>|<[^>]*>", " ", html, flags=re.DOTALL)
    assert not re.search(r"\d[eE][+-]?\d", text)
    assert "?" not in text.replace("Which size?", "")
    assert not re.search(r"(?<![\d.])-0(\.0*)?(?![\d.])", text), "a zero without a sign"
    assert "nan" not in text.lower().replace("nance", "")


def test_an_open_end_says_what_is_known() -> None:
    text = re.sub(r"<[^>]*>", "", page(a_hard_verdict()))
    assert "at least 3,111" in text
    assert "arrivals a second, or more" in text
    assert "0.00001 an hour, at most" in text


def test_a_long_name_is_shortened_in_the_middle_and_told_when_pointed_at() -> None:
    d, name = Drawing(120, 200), "a-very-long-name-of-a-model+and-its-reranker/20"
    d.label(60, 100, name)
    assert f"<title>{name}</title>" in d.parts[-1]
    assert "a-very" in d.parts[-1].rpartition("</title>")[2]
    assert "/20" in d.parts[-1].rpartition("</title>")[2]
    assert width_of(shortened("漢字" * 40, 100)) <= 100


def test_a_page_is_one_document() -> None:
    html = document("a < b", "<p>text</p>")
    assert "<title>a &lt; b</title>" in html
    assert html.count("<main>") == 1
    read(html)
