"""Per-task scores of the three sizes, read from the table beside this file."""

from __future__ import annotations

import csv
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from upsize.catalog.published.means import SIZES

_FOLDER = Path(__file__).parent

EVERY_LANGUAGE = "*"


@dataclass(frozen=True)
class TaskScores:
    """One task in one language."""

    task: str
    data_set: str
    """What its texts come from. Tasks of one data set are not independent evidence."""
    kind: str
    """`retrieval`, `code search`, `clustering`, …"""
    language: str
    """ISO 639-1, or 639-3 where there is none; `*`: the mean over all languages of the task."""
    domains: tuple[str, ...]
    """As MTEB names them, in lower case; empty where it names none."""
    cells: int
    """Splits and subsets that the scores are means of."""
    scores: tuple[float, float, float]
    """MTEB's main score, 0 to 1, in the order of SIZES."""


@dataclass(frozen=True)
class About:
    """Where the table is from."""

    source: str
    commit: str
    licence: str
    tasks: int
    data_sets: int
    screen: str
    """The rule by which runs count as broken."""
    screened: int
    """Broken runs left out; `about.json` lists them."""


@cache
def task_scores() -> tuple[TaskScores, ...]:
    """The whole table: each task over all of its languages, then in each of the common ones."""
    with (_FOLDER / "scores.csv").open(encoding="utf-8", newline="") as file:
        return tuple(
            TaskScores(
                task=row["task"],
                data_set=row["dataset"],
                kind=row["kind"],
                language=row["language"],
                domains=tuple(row["domains"].split()),
                cells=int(row["cells"]),
                scores=(float(row[SIZES[0]]), float(row[SIZES[1]]), float(row[SIZES[2]])),
            )
            for row in csv.DictReader(file)
        )


@cache
def about() -> About:
    """What the table says of itself."""
    about = json.loads((_FOLDER / "about.json").read_text(encoding="utf-8"))
    fields = {name: about[name] for name in About.__dataclass_fields__ if name != "screened"}
    return About(**fields, screened=len(about["screened"]))
