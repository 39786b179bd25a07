"""Reads a file or a folder as a dataset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from upsize.errors import InvalidInput
from upsize.evaluation.datasets.beir import read_beir
from upsize.evaluation.datasets.reader_report import ReaderReport
from upsize.evaluation.datasets.tables import read_table
from upsize.evaluation.datasets.types import Dataset, TaskKind
from upsize.io import ReadOptions, find, format_of


def load_dataset(
    path: Path | str,
    kind: str | None = None,
    *,
    fields: Mapping[str, str] | None = None,
    slices: Sequence[str] = (),
    split: str | None = None,
    encoding: str | None = None,
    delimiter: str | None = None,
    skip_bad: bool = False,
) -> Dataset:
    """Read a file or a folder of labelled texts. docs/data.md lists the formats and shapes that are recognised.

    `kind` is a value of `TaskKind`; None detects it. `fields` maps roles to field names. `slices` names fields whose
    values are reported separately. `split` chooses the judgements or rows to use. `encoding` and `delimiter` apply to
    every file. The dataset's `notes` say what was detected.

    Raises InvalidInput with file and line of rows that cannot be used. With `skip_bad` such rows are skipped, and
    listed in the dataset's `row_errors`. Raises MissingExtra for Parquet without pyarrow.
    """
    path = Path(path)
    if kind is not None and kind not in list(TaskKind):
        raise InvalidInput(f"{kind!r} is not a kind of task. Kinds: {', '.join(TaskKind)}.")
    report = ReaderReport(
        TaskKind(kind) if kind else None, split, fields or {}, tuple(slices), ReadOptions(encoding, delimiter), skip_bad
    )
    if path.is_file():
        table = report.open(path, path.name)
        table.require_use_of_reading()
        return read_table(table, report)
    if not path.is_dir():
        raise InvalidInput(f"{path}: no such file or folder.")
    if (corpus := find(path, "corpus")) and (queries := find(path, "queries")):
        return read_beir(path, corpus, queries, report)
    train = find(path, "train")
    judged = next((p for name in (split, "test", "dev", "validation") if name and (p := find(path, name))), None)
    if train and judged and judged != train:
        return read_table(report.open(judged, judged.name), report, report.open(train, train.name))
    files = sorted(p for p in path.iterdir() if format_of(p) and not p.name.startswith("."))
    if len(files) == 1:
        return read_table(report.open(files[0], files[0].name), report)
    inside = ", ".join(p.name for p in files[:8]) or "none"
    raise InvalidInput(
        f"{path} is no dataset: it needs corpus and queries (BEIR), train and test, or one file of rows. "
        f"Files of known formats in it: {inside}."
    )
