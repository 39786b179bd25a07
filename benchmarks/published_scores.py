"""Condense the published per-task scores of the three sizes into the table that `catalog.published` carries.

usage: python -m benchmarks.published_scores SCORES.csv.xz MTEB_FOLDER [--commit HASH]

SCORES.csv.xz has one row for each model, task, split and subset of github.com/embeddings-benchmark/results (CC0).
MTEB_FOLDER is an unpacked wheel of `mteb`, whose tasks' domains are read from its sources; nothing of it is run.

A cell is a task's split and subset. Cells that lack a size are left out, and so are broken runs: a larger size that
scores less than half of a smaller one which reaches 0.3. (The other direction cannot be told from a language that the
small model does not know, and stays in.) What was left out is listed beside the table.
"""

from __future__ import annotations

import argparse
import ast
import csv
import json
import lzma
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[1] / "src" / "upsize" / "catalog" / "published"
SIZES = ("0.6B", "4B", "8B")
COLLAPSE, REACHED = 0.5, 0.3
FEWEST = 5
"""Data sets that a language must have to get rows of its own."""

KINDS = {
    "BitextMining": "bitext",
    "Classification": "classification",
    "Clustering": "clustering",
    "InstructionReranking": "instruction reranking",
    "MultilabelClassification": "multilabel classification",
    "PairClassification": "pair classification",
    "Reranking": "reranking",
    "Retrieval": "retrieval",
    "STS": "sts",
}
"""MTEB's types of task, and what they are called here. Retrieval of programs is `code search`."""

SHORT = {
    "afr": "af", "amh": "am", "ara": "ar", "arb": "ar", "asm": "as", "ben": "bn", "bul": "bg", "cat": "ca", "ces": "cs",
    "cmn": "zh", "cym": "cy", "dan": "da", "deu": "de", "ell": "el", "eng": "en", "est": "et", "eus": "eu", "fao": "fo",
    "fas": "fa", "fin": "fi", "fra": "fr", "guj": "gu", "hau": "ha", "heb": "he", "hin": "hi", "hrv": "hr", "hun": "hu",
    "hye": "hy", "ibo": "ig", "ind": "id", "isl": "is", "ita": "it", "jav": "jv", "jpn": "ja", "kan": "kn", "kat": "ka",
    "kaz": "kk", "khm": "km", "kin": "rw", "kor": "ko", "lav": "lv", "lin": "ln", "lit": "lt", "lug": "lg", "mal": "ml",
    "mar": "mr", "mkd": "mk", "mlt": "mt", "mya": "my", "nep": "ne", "nld": "nl", "nno": "nn", "nob": "nb", "npi": "ne",
    "ory": "or", "pan": "pa", "pes": "fa", "pol": "pl", "por": "pt", "ron": "ro", "rus": "ru", "san": "sa", "slk": "sk",
    "slv": "sl", "sna": "sn", "snd": "sd", "som": "so", "spa": "es", "sqi": "sq", "srp": "sr", "sun": "su", "swa": "sw",
    "swe": "sv", "swh": "sw", "tam": "ta", "tel": "te", "tgl": "tl", "tha": "th", "tir": "ti", "tur": "tr", "ukr": "uk",
    "urd": "ur", "vie": "vi", "xho": "xh", "yor": "yo", "zho": "zh", "zul": "zu",
}  # fmt: skip
"""ISO 639-3 → 639-1, for the languages that get rows."""


@dataclass
class PublishedScore:
    """One split and subset of one task: the score of each size that ran it."""

    task: str
    kind: str
    languages: str
    name: str
    scores: dict[str, float] = field(default_factory=dict)


def cells(rows: Iterator[Mapping[str, str]]) -> list[PublishedScore]:
    """Those of the three sizes, whatever their state."""
    found: dict[tuple[str, str, str], PublishedScore] = {}
    for row in rows:
        organisation, _, model = row["model"].partition("/")
        size = model.rpartition("-")[2]
        if organisation != "Qwen" or not model.startswith("Qwen3-Embedding-") or size not in SIZES:
            continue
        if row["task_type"] not in KINDS or not row["main_score"]:
            continue
        key = (row["task"], row["split"], row["subset"])
        name = f"{row['split']}/{row['subset']}"
        cell = found.setdefault(key, PublishedScore(row["task"], KINDS[row["task_type"]], row["languages"], name))
        cell.scores[size] = float(row["main_score"])
    return list(found.values())


def broken(scores: Mapping[str, float]) -> bool:
    """Whether a larger size collapses where a smaller one does not."""
    return any(scores[a] >= REACHED and scores[b] < COLLAPSE * scores[a] for a, b in combinations(SIZES, 2))


def data_set(task: str) -> str:
    """What a task's texts come from: tasks of one data set are not independent, and are averaged before intervals."""
    if task.startswith("CQADupstack"):
        return "CQADupstack"
    name = re.sub(r"\.v\d$", "", task)
    name = re.sub(r"HardNegatives|Hierarchical|[_-]?(P2P|S2S)$|-NL$", "", name)
    name = re.sub(r"(Long)?(Retrieval|Clustering|-?[Rr]eranking)$", "", name)
    return re.sub(r"^BrightPro", "Bright", name)


def superseded(task: str, tasks: set[str]) -> bool:
    """Whether a newer version of the task is there too, or it is a small sample of another made for human raters."""
    bare = re.sub(r"\.v\d$", "", task)
    return task.startswith("HUME") or any(f"{bare}.v{v}" in tasks and not task.endswith(f".v{v}") for v in (2, 3))


def domains(mteb: Path) -> dict[str, list[str]]:
    """Task → domains, from the literals of `TaskMetadata(...)` in mteb's sources."""
    found: dict[str, list[str]] = {}
    for path in sorted(mteb.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", None) == "TaskMetadata":
                told = {k.arg: k.value for k in node.keywords}
                if isinstance(told.get("name"), ast.Constant) and isinstance(told.get("domains"), ast.List):
                    found[ast.literal_eval(told["name"])] = [d.lower() for d in ast.literal_eval(told["domains"])]
    return found


def languages(cell: PublishedScore) -> set[str]:
    """Of a cell, as ISO 639-1 where there is one. A pair with English is the other language's."""
    found = {code.split("-")[0] for code in cell.languages.split() if not code.endswith("-Code")}
    found = {SHORT.get(code, code) for code in found}
    return found - {"en"} if len(found) > 1 else found


def table(kept: list[PublishedScore], domain: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """Rows: a task over all of its cells (language `*`), then over those of each common language."""
    of: dict[tuple[str, str], list[PublishedScore]] = defaultdict(list)
    sets: dict[str, set[str]] = defaultdict(set)
    for cell in kept:
        of[cell.task, "*"].append(cell)
        for language in languages(cell):
            of[cell.task, language].append(cell)
            sets[language].add(data_set(cell.task))
    rows = []
    for (task, language), group in sorted(of.items()):
        if language != "*" and len(sets[language]) < FEWEST:
            continue
        told = sorted({*domain.get(task, ())} - {"written"})
        code = told == ["programming"] or any("-Code" in c.languages for c in group)
        kind = "code search" if group[0].kind == "retrieval" and code else group[0].kind
        means = {s: round(sum(c.scores[s] for c in group) / len(group), 4) for s in SIZES}
        rows.append(
            {"task": task, "dataset": data_set(task), "kind": kind, "language": language, "domains": " ".join(told)}
            | {"cells": len(group)}
            | means
        )
    return rows


def main(scores: Path, mteb: Path, commit: str) -> None:
    """Write the table, and beside it what it is and what was left out."""
    with lzma.open(scores, "rt", encoding="utf-8") as file:
        all_cells = cells(csv.DictReader(file))
    whole = [c for c in all_cells if len(c.scores) == len(SIZES)]
    names = {c.task for c in whole}
    current = [c for c in whole if not superseded(c.task, names)]
    screened = [c for c in current if broken(c.scores)]
    rows = table([c for c in current if not broken(c.scores)], domains(mteb))
    with (FOLDER / "scores.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    about = {
        "source": "github.com/embeddings-benchmark/results",
        "commit": commit,
        "licence": "CC0 1.0",
        "domains": "github.com/embeddings-benchmark/mteb, task metadata (Apache-2.0)",
        "made_by": "python -m benchmarks.published_scores",
        "value": "MTEB's main score of each task, mean over the splits and subsets that all three sizes have",
        "tasks": len({r["task"] for r in rows}),
        "data_sets": len({r["dataset"] for r in rows}),
        "cells": sum(r["cells"] for r in rows if r["language"] == "*"),
        "left_out": {
            "cells that lack a size": len(all_cells) - len(whole),
            "cells of superseded tasks and of samples for human raters": len(whole) - len(current),
            "broken runs": len(screened),
        },
        "screen": f"a larger size below {COLLAPSE} of a smaller one that reaches {REACHED}",
        "screened": [{"task": c.task, "cell": c.name} | c.scores for c in screened],
    }
    (FOLDER / "about.json").write_text(json.dumps(about, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    print(f"{len(rows)} rows, {about['tasks']} tasks, {about['data_sets']} data sets, {len(screened)} broken runs")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("scores", type=Path)
    parser.add_argument("mteb", type=Path)
    parser.add_argument("--commit", default="f4cc6c8b365a3c779dbc708d6affe0b0355b2ddf")
    given = parser.parse_args()
    main(given.scores, given.mteb, given.commit)
