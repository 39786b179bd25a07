"""The decision matrix as a section of a page, or a page of its own."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from upsize.compute.contention import BUSY
from upsize.selection.matrix.terminal import measured_claim
from upsize.selection.report.html import NOTHING, duration, folded, gigabytes, number, table

_ABOUT = {"measured": "", "estimated": "scaled from {layers} of {whole} layers"}


def matrix_section(matrix: Mapping[str, Any]) -> str:
    """The whole section: figures, quality and index, uses, the article."""
    machine = matrix["machine"]
    cores, memory = number(machine["cores"]), gigabytes(machine["memory_bytes"])
    return (
        f'<h2>The sizes on this machine</h2><p class="lead">{escape(machine["processor"])}, {cores} cores, {memory}; '
        f"{escape(matrix['date'])}; torch {escape(matrix['versions']['torch'] or 'not installed')}.</p>"
        + _uses(matrix)
        + _figures(matrix)
        + _published(matrix)
        + _article(matrix)
        + _sums(matrix)
    )


def _uses(matrix: Mapping[str, Any]) -> str:
    rows = [
        (
            "",
            [
                row["size"],
                f"<strong>{escape(r['use'])}</strong>",
                escape(r["precision"] or "–"),
                escape("; ".join(r["because"])),
            ],
        )
        for row in matrix["sizes"]
        for r in (row["recommended"],)
    ]
    return table(
        ["size", "use", "precision", "because"],
        rows,
        "Recommended use, by rule from the facts below",
        frozenset({1, 2, 3}),
    )


def _figures(matrix: Mapping[str, Any]) -> str:
    rows = []
    for row in matrix["sizes"]:
        for p in row["precisions"]:
            sentence, passages, long_text = p.get("sentence"), p.get("passages"), p.get("long")
            rows.append(
                ("", [
                    f"{escape(row['size'])}, {escape(p['precision'])}",
                    gigabytes(p["weight_bytes"]),
                    f"{escape(p['fits'])}<small>{number(p['headroom_bytes'], '+.1f', ' GB', 1e9)} spare</small>",
                    _of(sentence, sentence and number(sentence["p50_ms"], "", " ms")),
                    _of(sentence, sentence and number(sentence["p95_ms"], "", " ms")),
                    _of(passages, passages and number(passages["tokens_per_second"])),
                    _of(long_text, long_text and duration(long_text["seconds"])),
                    _of(long_text, long_text and gigabytes(long_text["peak_bytes"])),
                ])
            )  # fmt: skip
    long = f"{matrix['settings']['long_tokens']:,} tokens"
    heads = ["size", "weights", "fits", "sentence p50", "sentence p95", "tokens/s", long, "its peak memory"]
    return table(heads, rows, "Measured, or scaled from a few layers where it says so")


def _of(figure: Mapping[str, Any] | None, shown: str | None) -> str:
    """A figure, and below it what it rests on where that is not a whole measurement of real weights."""
    if figure is None or shown is None:
        return NOTHING
    layers = " and ".join(map(number, figure["layers"]))
    about = _ABOUT[figure["basis"]].format(layers=layers, whole=number(figure["of_layers"]))
    weights = "random weights" if figure["weights"] == "random" else "real weights"
    busy = figure.get("busy", 0.0)
    noise = f"others took {number(busy, '.0f', ' %', 0.01)} of the processor" if busy >= BUSY else ""
    return f"{shown}<small>{', '.join(filter(None, (about, weights, noise)))}</small>"


def _published(matrix: Mapping[str, Any]) -> str:
    kinds = list(matrix["sizes"][0]["published"])
    rows = [
        ("", [escape(row["size"]), *(number(row["published"][k], ".2f") for k in kinds)]) for row in matrix["sizes"]
    ]
    index = [
        ("", [f"{escape(row['size'])}, {number(i['dimension'])}", gigabytes(i["float32"]), gigabytes(i["float16"])])
        for row in matrix["sizes"]
        for i in row["index_bytes_per_million"]
    ]
    return table(["size", *kinds], rows, "Published quality, mean over tasks") + folded(
        "Index of a million texts", table(["size, dimension", "float32", "float16"], index)
    )


def _article(matrix: Mapping[str, Any]) -> str:
    rows = [
        (
            "",
            [
                escape(c["what"]),
                escape(c["claimed"]),
                escape(c["published"]),
                escape(measured_claim(dict(matrix), c["measured"])),
            ],
        )
        for c in matrix["article"]
    ]
    return table(["what", "it says", "published", "here"], rows, "A widely read article", frozenset({1, 2, 3}))


def _sums(matrix: Mapping[str, Any]) -> str:
    lines = [
        f"{row['size']} {p['precision']}, {name}: {line}"
        for row in matrix["sizes"]
        for p in row["precisions"]
        for name in ("sentence", "passages", "long")
        for line in p.get(name, {}).get("arithmetic", ())
    ]
    return (
        folded("How a whole was scaled from a few layers", f"<pre>{escape(chr(10).join(lines))}</pre>") if lines else ""
    )
