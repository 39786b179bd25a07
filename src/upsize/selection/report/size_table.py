"""The table of sizes as a section of a page; `templates/size_table.html.jinja` lays it out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from markupsafe import Markup

from upsize.compute.contention import BUSY
from upsize.selection.matrix.terminal import measured_claim
from upsize.selection.report.figures import NOTHING, Row, TableData, duration, gigabytes, number, small
from upsize.selection.report.templates import render


def size_table_section(matrix: Mapping[str, Any]) -> Markup:
    """The whole section from the contents of a matrix.json: uses, figures, published quality, the article's claims."""
    return render(
        "size_table.html.jinja",
        machine=matrix["machine"],
        date=matrix["date"],
        versions=matrix["versions"],
        uses=list(_uses(matrix)),
        figures=_figure_table(matrix),
        published=_published_table(matrix),
        index_bytes=list(_index_bytes(matrix)),
        claims=list(_claims(matrix)),
        arithmetic=list(_arithmetic(matrix)),
    )


def _uses(matrix: Mapping[str, Any]) -> Iterator[Row]:
    for row in matrix["sizes"]:
        r = row["recommended"]
        use = Markup("<strong>{}</strong>").format(r["use"])
        yield Row((row["size"], use, r["precision"] or "–", "; ".join(r["because"])))


def _figure_table(matrix: Mapping[str, Any]) -> TableData:
    long = f"{matrix['settings']['long_tokens']:,} tokens"
    heads = ("size", "weights", "fits", "sentence p50", "sentence p95", "tokens/s", long, "its peak memory")
    rows = []
    for row in matrix["sizes"]:
        for p in row["precisions"]:
            sentence, passages, long_text = p.get("sentence"), p.get("passages"), p.get("long")
            spare = number(p["headroom_bytes"], "+.1f", " GB", 1e9) + " spare"
            rows.append(
                Row((
                    f"{row['size']}, {p['precision']}",
                    gigabytes(p["weight_bytes"]),
                    Markup.escape(p["fits"]) + small(spare),
                    _with_basis(sentence, sentence and number(sentence["p50_ms"], "", " ms")),
                    _with_basis(sentence, sentence and number(sentence["p95_ms"], "", " ms")),
                    _with_basis(passages, passages and number(passages["tokens_per_second"])),
                    _with_basis(long_text, long_text and duration(long_text["seconds"])),
                    _with_basis(long_text, long_text and gigabytes(long_text["peak_bytes"])),
                ))
            )  # fmt: skip
    return TableData(heads, tuple(rows))


def _with_basis(figure: Mapping[str, Any] | None, shown: Markup | None) -> Markup:
    """A figure, and in small below it: scaled from which layers, which weights, how busy the machine was."""
    if figure is None or shown is None:
        return NOTHING
    basis = []
    if figure["basis"] == "estimated":
        layers = Markup(" and ").join(map(number, figure["layers"]))
        basis.append(Markup("scaled from {} of {} layers").format(layers, number(figure["of_layers"])))
    basis.append(Markup("random weights" if figure["weights"] == "random" else "real weights"))
    if (busy := figure.get("busy", 0.0)) >= BUSY:
        basis.append(Markup("others took {} of the processor").format(number(busy, ".0f", " %", 0.01)))
    return shown + small(Markup(", ").join(basis))


def _published_table(matrix: Mapping[str, Any]) -> TableData:
    kinds = list(matrix["sizes"][0]["published"])
    rows = (Row((row["size"], *(number(row["published"][k], ".2f") for k in kinds))) for row in matrix["sizes"])
    return TableData(("size", *kinds), tuple(rows))


def _index_bytes(matrix: Mapping[str, Any]) -> Iterator[Row]:
    for row in matrix["sizes"]:
        for i in row["index_bytes_per_million"]:
            name = Markup("{}, {}").format(row["size"], number(i["dimension"]))
            yield Row((name, gigabytes(i["float32"]), gigabytes(i["float16"])))


def _claims(matrix: Mapping[str, Any]) -> Iterator[Row]:
    for c in matrix["article"]:
        yield Row((c["what"], c["claimed"], c["published"], measured_claim(dict(matrix), c["measured"])))


def _arithmetic(matrix: Mapping[str, Any]) -> Iterator[str]:
    for row in matrix["sizes"]:
        for p in row["precisions"]:
            for name in ("sentence", "passages", "long"):
                for line in p.get(name, {}).get("arithmetic", ()):
                    yield f"{row['size']} {p['precision']}, {name}: {line}"
