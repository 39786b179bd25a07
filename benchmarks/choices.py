"""`upsize choose` on public test sets with the demo family: verdicts and minutes, and the table in docs/choose.md.

usage: python -m benchmarks.choices --shared ../shared/data [--out FOLDER]     # reports stay in FOLDER
       python -m benchmarks.choices --page                                     # only the table
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.common import RESULTS, between, write
from benchmarks.datasets import convert
from upsize.selection import Verdict
from upsize.selection.pipeline import run_choice
from upsize.selection.settings import ChoiceSettings

PAGE = Path(__file__).parents[1] / "docs" / "choose.md"
SIZES = ("demo-xs", "demo-s", "demo-m")
SECONDS = 5.0
"""Of load at each rate: a quarter of what `choose` takes, for what is shown here is the verdict."""
QUALITY: Mapping[str, Any] = {"speed": False}
QUESTIONS: Mapping[str, tuple[str, Mapping[str, Any]]] = {
    "XQuAD zh": ("xquad-zh", {"rerankers": ("demo-rerank",), "seconds": SECONDS}),
    "SciFact": ("scifact", {"rerankers": ("demo-rerank",), **QUALITY}),
    "THUCNews titles": ("thucnews.jsonl", {"kind": "clustering", **QUALITY}),
    "TNEWS": ("tnews.jsonl", {"kind": "clustering", **QUALITY}),
    "TNEWS, margin 0.03": ("tnews.jsonl", {"kind": "clustering", "delta": 0.03, **QUALITY}),
    "STS-B fr, the larger two": ("stsb-fr.csv", {"models": SIZES[1:], **QUALITY}),
    "Banking77": ("banking77", QUALITY),
    "Banking77, dimensions of demo-m": ("banking77", {"models": ("demo-m",), "dims": (64, 128), **QUALITY}),
}
"""What is asked → the data, and options of `choose`."""


def measure(data: Path, out: Path) -> Path:
    """Ask each question, with a report of its own below `out`."""
    answers = {}
    for name, (path, own) in QUESTIONS.items():
        asked: dict[str, Any] = {"models": SIZES, **own}
        report, started = out / name.replace(" ", "-"), time.monotonic()
        resumed = report.exists()
        verdict = run_choice(ChoiceSettings(data / path, out=report, **asked))
        minutes = None if resumed else round((time.monotonic() - started) / 60, 1)
        answers[name] = answer(verdict) | {"minutes": minutes}
        print(f"{name}: {answers[name]['reason']}", flush=True)
    return write("choices", {"answers": answers})


def answer(verdict: Verdict) -> dict[str, Any]:
    """What the table needs of a verdict."""
    return {
        "task": verdict.task.name,
        "metric": verdict.task.metric,
        "units": verdict.task.units,
        "decision": verdict.decision,
        "choice": verdict.choice,
        "settled": verdict.settled,
        "reason": verdict.reason,
        "queries_needed": verdict.queries_needed,
        "delta": verdict.delta,
        "candidates": {c.id: _interval(c.quality) for c in verdict.candidates},
        "differences": {f"{d.larger} − {d.smaller}": _interval(d) for d in verdict.differences},
    }


def _interval(of: Any) -> dict[str, float]:
    return {name: round(getattr(of, name), 4) for name in ("estimate", "lower", "upper")}


WORDS = {"stay": "stay", "go_up": "go up", "cannot_tell": "cannot tell"}


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = ["| data, metric | candidates, smallest first | verdict | minutes |", "|---|---|---|---|"]
    for question, a in result["answers"].items():
        scores = "; ".join(f"{name} {q['estimate']:.3f}" for name, q in a["candidates"].items())
        more = "" if a["queries_needed"] is None else f" ({a['queries_needed']:,} more would settle it)"
        said = f"**{WORDS[a['decision']]}**, {a['choice']}{more}"
        lines.append(f"| {question}, {a['metric']}, {a['units']:,} | {scores} | {said} | {a['minutes'] or '–'} |")
    machine = result["machine"]
    lines += ["", f"{machine['cores']} cores of {machine['processor']}; {result['date']}."]
    return "\n".join(lines)


def filled(text: str) -> str:
    """docs/choose.md with its table between the marks."""
    return between(text, "choices", table(json.loads((RESULTS / "choices.json").read_text(encoding="utf-8"))))


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shared", type=Path, default=Path("../shared/data"))
    parser.add_argument("--out", type=Path, help="where the reports go")
    parser.add_argument("--page", action="store_true", help="only put the result into docs/choose.md")
    given = parser.parse_args()
    if not given.page:
        with tempfile.TemporaryDirectory() as laid_out:
            convert(Path(laid_out), given.shared)
            measure(Path(laid_out), given.out or Path(laid_out) / "reports")
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
