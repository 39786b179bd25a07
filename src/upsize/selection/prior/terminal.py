"""Prints a prior on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upsize.catalog.published import SIZES, TaskScores
from upsize.number_format import short
from upsize.selection.prior.evidence import ENOUGH, Prior, points, source

SHOWN = 12
"""Tasks of the narrowest question that are listed one by one."""


def print_prior(prior: Prior, console: Console, show: Callable[[Console, Table], None] = Console.print) -> None:
    """Print the lead, the evidence from narrow to wide, the tasks nearest to the question, and the alternative. `show`
    prints a table."""
    console.print(f"[bold]{escape(prior.lead)}[/]")
    console.print(f"[yellow]{escape(prior.caveat)}[/]\n")
    show(console, _evidence(prior))
    console.print()
    nearest = prior.evidence[0]
    show(console, _tasks(nearest.question, nearest.tasks))
    if prior.reranker_lead:
        console.print(f"\n[bold]Or a reranker.[/] {escape(prior.reranker_lead)}")
        show(console, _reranking(prior))
    console.print(f"\n[dim]{escape(source())}[/]")


def _plain(title: str) -> Table:
    return Table(box=None, pad_edge=False, title=title, title_justify="left", title_style="bold")


def _evidence(prior: Prior) -> Table:
    table = _plain("Mean over data sets, points of 100; 95 % intervals over data sets")
    for heading in ("question", "data sets", *SIZES):
        table.add_column(heading, justify="left" if heading == "question" else "right")
    for smaller, larger in pairwise(SIZES):
        table.add_column(f"{smaller} → {larger}", justify="right")
        table.add_column("does not pay", justify="right")
    for index, row in enumerate(prior.evidence):
        mark = "→ " if index == prior.rests_on else "  "
        steps = [cell for step in row.steps for cell in (points(step), f"{step.does_not_pay} of {row.data_sets}")]
        table.add_row(mark + escape(row.question), str(row.data_sets), *(f"{100 * m:.1f}" for m in row.means), *steps)
    table.caption = (
        f"→ what the lead rests on: the narrowest with {ENOUGH} data sets. "
        f"Does not pay: {short(100 * prior.delta)} or less."
    )
    table.caption_justify = "left"
    return table


def _tasks(question: str, tasks: tuple[TaskScores, ...]) -> Table:
    more = f", {SHOWN} of {len(tasks)}" if len(tasks) > SHOWN else ""
    table = _plain(f"Tasks: {escape(question)}{more}")
    for heading in ("task", *SIZES):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for row in tasks[:SHOWN]:
        table.add_row(row.task, *(f"{100 * s:.1f}" for s in row.scores))
    return table


def _reranking(prior: Prior) -> Table:
    table = _plain("Published, points of 100; rerankers over Embedding-0.6B's first 100")
    table.add_column("set")
    for size in SIZES:
        table.add_column(f"{size} alone", justify="right")
    for size in SIZES:
        table.add_column(f"0.6B + reranker {size}", justify="right")
    for row in prior.reranking:
        alone = ("not published" if x is None else f"{x:.2f}" for x in row.alone)
        table.add_row(f"{row.name} ({row.what})", *alone, *(f"{x:.2f}" for x in row.reranked))
    return table
