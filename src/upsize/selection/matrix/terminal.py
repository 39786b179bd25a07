"""The matrix on the terminal."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from upsize.compute.contention import BUSY

Json = dict[str, Any]
FITS = {"yes": "[green]fits[/]", "if memory is freed": "[yellow]too full[/]", "no": "[red]too large[/]"}


def print_size_table(matrix: Json, console: Console, show: Callable[[Console, Table], None] = Console.print) -> None:
    """Print what was found, size by size, and the article's figures beside it. `show` prints a table."""
    machine = matrix["machine"]
    console.print(
        f"[bold]{escape(machine['processor'])}[/], {machine['cores']} cores, {machine['memory_bytes'] / 1e9:.1f} GB; "
        f"{matrix['date']}; torch {matrix['versions']['torch'] or 'not installed'}"
    )
    for table in (_figures(matrix), _published(matrix), _uses(matrix), _article(matrix)):
        show(console, table)
    for line in _sums(matrix):
        console.print(f"[dim]{escape(line)}[/]")


def _table(title: str, *heads: str, left: int = 1) -> Table:
    table = Table(
        box=None, pad_edge=False, title=title, title_justify="left", title_style="bold", caption_justify="left"
    )
    for i, head in enumerate(heads):
        table.add_column(head, justify="left" if i < left else "right")
    return table


def mark(figure: Json) -> str:
    """`~` before what was scaled from a few layers."""
    return "" if figure["basis"] == "measured" else "~"


def _figures(matrix: Json) -> Table:
    long = f"{matrix['settings']['long_tokens']:,} tokens"
    heads = ("size", "precision", "weights GB", "", "spare GB", "sentence p50", "p95 ms", "tokens/s", long, "peak GB")
    table = _table("\nOn this machine", *heads, left=2)
    table.caption = "~ scaled from a few layers (sums below); spare: beyond weights and the work of a long text"
    for row in matrix["sizes"]:
        for p in row["precisions"]:
            sentence, passages, long_text = p.get("sentence"), p.get("passages"), p.get("long")
            table.add_row(
                row["size"],
                p["precision"],
                f"{p['weight_bytes'] / 1e9:.2f}",
                FITS[p["fits"]],
                f"{p['headroom_bytes'] / 1e9:+.1f}",
                f"{mark(sentence)}{sentence['p50_ms']:,.0f}" if sentence else "–",
                f"{mark(sentence)}{sentence['p95_ms']:,.0f}" if sentence else "–",
                f"{mark(passages)}{passages['tokens_per_second']:,.0f}" if passages else "–",
                f"{mark(long_text)}{long_text['seconds']:,.0f} s" if long_text else "–",
                f"{mark(long_text)}{long_text['peak_bytes'] / 1e9:.2f}" if long_text else "–",
            )
    return table


def _published(matrix: Json) -> Table:
    kinds = list(matrix["sizes"][0]["published"])
    table = _table("\nPublished quality, and GB of a million vectors (float32 / float16)", "size", *kinds, "index")
    for row in matrix["sizes"]:
        index = ", ".join(
            f"{i['dimension']}: {i['float32'] / 1e9:.2f} / {i['float16'] / 1e9:.2f}"
            for i in row["index_bytes_per_million"]
        )
        table.add_row(row["size"], *(f"{row['published'][k]:.2f}" for k in kinds), index)
    return table


def _uses(matrix: Json) -> Table:
    table = _table("\nRecommended use, by rule from the facts above", "size", "use", "precision", "because", left=4)
    for row in matrix["sizes"]:
        r = row["recommended"]
        table.add_row(
            row["size"], f"[bold]{escape(r['use'])}[/]", r["precision"] or "–", escape("; ".join(r["because"]))
        )
    return table


def _article(matrix: Json) -> Table:
    table = _table("\nA widely read article says", "what", "it says", "published", "here", left=4)
    for claim in matrix["article"]:
        table.add_row(claim["what"], claim["claimed"], claim["published"], measured_claim(matrix, claim["measured"]))
    return table


def disturbed_cells(matrix: Json) -> list[str]:
    """A line for each figure that was measured while other processes took much of the processor."""
    return [
        f"{row['size']} {p['precision']}, {name}: other processes took {p[name]['busy']:.0%} of the processor: "
        "it may be faster. Remove its cells from the folder's cells/ to measure them again."
        for row in matrix["sizes"]
        for p in row["precisions"]
        for name in ("sentence", "passages", "long")
        if p.get(name, {}).get("busy", 0.0) >= BUSY
    ]


def measured_claim(matrix: Json, what: str | None) -> str:
    """What this matrix found of a claim, size by size in the recommended precision."""
    if what is None:
        return "–"
    found = []
    for row in matrix["sizes"]:
        used = [p for p in row["precisions"] if p["precision"] == row["recommended"]["precision"]]
        if not used or (what == "sentence" and "sentence" not in used[0]):
            found.append(f"{row['size']}: –")
            continue
        if what == "sentence":
            figure = used[0]["sentence"]
            found.append(f"{row['size']}: {mark(figure)}{figure['p50_ms']:,.0f} p50")
        else:
            figure = used[0]["sentence"]
            found.append(f"{row['size']}: {mark(figure)}{figure['peak_bytes'] / 1e9:.2f} peak of a sentence")
    return ", ".join(found)


def _sums(matrix: Json) -> list[str]:
    lines = disturbed_cells(matrix)
    for row in matrix["sizes"]:
        for p in row["precisions"]:
            for name in ("sentence", "passages", "long"):
                figure = p.get(name)
                if figure is None:
                    continue
                where = f"{row['size']} {p['precision']}, {name}"
                lines += [f"{where}: {line}" for line in figure["arithmetic"]]
                for key, ratio in figure.get("scaled_over_whole", {}).items():
                    lines.append(f"{where}: {key} scaled from a few layers is {ratio:.2f} of that of all layers")
    return lines
