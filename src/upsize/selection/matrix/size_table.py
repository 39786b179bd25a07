"""From facts and cells to the table of sizes, and by rule to a recommended use.

Everything is pure except `build_size_table`, which measures.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from upsize.catalog import FAMILY, SMALLEST_DIMENSION, FamilyMember
from upsize.catalog.article import CLAIMS
from upsize.catalog.published import BENCHMARKS, SIZES
from upsize.compute import Machine, work_bytes
from upsize.compute.plan import INT8, runs_on_kernels
from upsize.diagnostics import read_environment
from upsize.diagnostics.random_models import config_of
from upsize.diagnostics.size_estimates import fits, member_weight_bytes
from upsize.errors import InvalidInput
from upsize.io.atomic import write_atomic
from upsize.selection.matrix.cells import (
    BATCH,
    PASSAGE,
    SENTENCE,
    Cell,
    CellSettings,
    Name,
    cells_of,
    measure_cell,
    missing_bytes,
    quantile,
    scaled,
    sum_shown,
)

SIZE_TABLE_FILE = "matrix.json"
INTERACTIVE_MS = 200.0
"""p95 of one sentence, in milliseconds, up to which a size serves interactive queries; chosen."""
DAYS = 7.0
"""Days for a million passages up to which a size embeds a corpus here; chosen."""
PASSAGES = 1_000_000
"""The corpus that index sizes and days are given for."""

Json = dict[str, Any]


def members_of(sizes: Sequence[str]) -> list[FamilyMember]:
    """The embedders of these sizes, smallest first. InvalidInput for another size."""
    requested = {s.strip().upper() for s in sizes}
    if unknown := requested - set(SIZES):
        raise InvalidInput(f"--sizes {', '.join(sorted(unknown))}: there are {', '.join(SIZES)}.", param="sizes")
    return [m for m in FAMILY if m.kind == "embedding" and m.size in requested]


def precisions_to_measure(names: Sequence[str], machine: Machine, settings: CellSettings) -> list[str]:
    """The requested precisions, or by default the two that serve best here: int8 and bfloat16 on a CPU with compiled
    kernels, else bfloat16 and float32. InvalidInput for one that this machine does not compute."""
    on_gpu = bool(machine.gpus) and settings.device != "cpu"
    able = [
        name
        for name in (INT8, "bfloat16", "float32", "float16")
        if runs_on_kernels("cuda" if on_gpu else "cpu", name, machine.kernels, machine.torch)
        or (machine.torch and name != INT8)
    ]
    for name in names:
        if name not in able:
            raise InvalidInput(f"--dtype {name!r}: on this machine use {', '.join(able)}.", param="dtype")
    return list(dict.fromkeys(names or able[:2]))


def memory_facts(member: FamilyMember, precision: str, machine: Machine, settings: CellSettings) -> Json:
    """Memory that a size needs, by arithmetic, and whether it fits."""
    on_gpu = bool(machine.gpus) and settings.device != "cpu"
    there, free = (machine.gpus[0].memory,) * 2 if on_gpu else (machine.memory, machine.available)
    weights = member_weight_bytes(member, precision)
    work = work_bytes(config_of(member), settings.long_tokens, "cuda" if on_gpu else "cpu")
    return {
        "weight_bytes": weights,
        "work_bytes": work,
        "fits": fits(weights + work, there, free),
        "headroom_bytes": there - weights - work,
    }


def cell_figures(cells: Sequence[Json], member: FamilyMember, precision: str) -> Json:
    """Name of a cell → its figure, measured whole or scaled from a few layers, and how scaling compares with the whole.

    `cells` are those of this size and precision, as kept on disk.
    """
    found: Json = {}
    for name in ("sentence", "passages", "long"):
        mine = sorted((c for c in cells if c["name"] == name), key=lambda c: c["layers"])
        if mine:
            found[name] = _figure(name, mine, member, precision)
    return found


def _figure(name: Name, cells: Sequence[Json], member: FamilyMember, precision: str) -> Json:
    whole = [c for c in cells if c["layers"] == member.layers]
    few = [c for c in cells if c["layers"] != member.layers]
    figure: Json = {
        "basis": "measured" if whole else "estimated",
        "weights": "random" if cells[0]["weights"] == "random" else "real",
        "layers": [c["layers"] for c in (whole or few)],
        "of_layers": member.layers,
        "tokens": sum(cells[0]["lengths"]),
        "n": len((whole or few)[-1]["times"]),
        "busy": max(c.get("busy", 0.0) for c in (whole or few)),
        "arithmetic": [],
    }
    values: dict[str, Callable[[Json], float]] = {
        "sentence": {"p50_ms": _at(0.5, 1e3), "p95_ms": _at(0.95, 1e3)},
        "passages": {"batch_s": _at(0.5)},
        "long": {"seconds": _at(0.5)},
    }[name]
    for key, value in values.items():
        if whole:
            figure[key] = value(whole[0])
        if len(few) == 2:
            layers = (few[0]["layers"], few[1]["layers"])
            estimate = scaled(value(few[0]), value(few[1]), layers, member.layers)
            if whole:
                figure.setdefault("scaled_over_whole", {})[key] = estimate / figure[key]
            else:
                figure[key] = estimate
                unit = "ms" if key.endswith("_ms") else "s"
                shown = sum_shown(value(few[0]), value(few[1]), layers, member.layers, unit)
                figure["arithmetic"].append(f"{key}: {shown}")
    if name == "passages":
        figure["tokens_per_second"] = figure["tokens"] / figure.pop("batch_s")
    last = (whole or few)[-1]
    missing = 0 if whole else missing_bytes(config_of(member), precision, last["layers"])
    figure["peak_bytes"] = last["peak"] - (last["resident_before"] if last["device"] == "cpu" else 0) + missing
    if missing:
        figure["arithmetic"].append(
            f"peak: {(figure['peak_bytes'] - missing) / 1e9:.2f} GB with {last['layers']} layers + {missing / 1e9:.2f} "
            f"of the other {member.layers - last['layers']}"
        )
    return figure


def _at(q: float, by: float = 1.0) -> Callable[[Json], float]:
    return lambda cell: quantile(cell["times"], q) * by


def dimensions(member: FamilyMember) -> list[int]:
    """Powers of two from 256, the smallest that the models are trained for, and the full one."""
    full = member.hidden_size
    return sorted({SMALLEST_DIMENSION, *(d for d in (256, 512, 1024, 2048) if d < full), full})


def recommend(row: Json, smaller: Json | None) -> Json:
    """A use, from the row's facts alone, with the facts that decided. `smaller`: the row of the next smaller size."""
    able = [p for p in row["precisions"] if p["fits"] != "no" and "sentence" in p]
    if not able:
        need = min(p["weight_bytes"] + p["work_bytes"] for p in row["precisions"])
        over = -max(p["headroom_bytes"] for p in row["precisions"])
        if over <= 0:
            return {"use": "not measured", "precision": None, "because": ["no cell of it was measured"]}
        return {
            "use": "not on this machine",
            "precision": None,
            "because": [f"needs {need / 1e9:.1f} GB for a long text, {over / 1e9:.1f} GB more than there are"],
        }
    best = min(able, key=lambda p: p["sentence"]["p95_ms"])
    p95 = best["sentence"]["p95_ms"]
    days = PASSAGES * PASSAGE / best["passages"]["tokens_per_second"] / 86400 if "passages" in best else None
    fast, feasible = p95 <= INTERACTIVE_MS, days is not None and days <= DAYS
    use = {
        (True, True): "queries and a corpus",
        (True, False): "queries; embed a corpus elsewhere",
        (False, True): "a corpus, and queries that may wait",
        (False, False): "judging and rescoring a few candidates",
    }[fast, feasible]
    because = [f"one sentence p95 {p95:,.0f} ms ({'at most' if fast else 'over'} {INTERACTIVE_MS:.0f})"]
    if days is not None:
        because.append(f"a million passages in {days:,.1f} days ({'at most' if feasible else 'over'} {DAYS:.0f})")
    if best["fits"] != "yes":
        because.append("memory must be freed first")
    if smaller is not None:
        gain = row["published"]["multilingual"] - smaller["published"]["multilingual"]
        because.append(f"published multilingual mean {gain:+.2f} points over {smaller['size']}")
    return {"use": use, "precision": best["precision"], "because": because}


def table_rows(
    chosen: Sequence[FamilyMember],
    names: Sequence[str],
    cells: Sequence[Json],
    machine: Machine,
    settings: CellSettings,
) -> list[Json]:
    """Rows of the matrix, one a size."""
    rows: list[Json] = []
    for member in chosen:
        row: Json = {
            "size": member.size,
            "model": member.hub_id,
            "parameters": member.parameters,
            "gflop_per_token": member.flops_per_token / 1e9,
            "context": min(member.context, 32768),
            "published": {b.what: b.mean[SIZES.index(member.size)] for b in BENCHMARKS},
            "index_bytes_per_million": [
                {"dimension": d, "float32": d * 4 * PASSAGES, "float16": d * 2 * PASSAGES} for d in dimensions(member)
            ],
            "precisions": [],
        }
        for precision in names:
            mine = [c for c in cells if c["size"] == member.size and c["precision"] == precision]
            facts = {"precision": precision} | memory_facts(member, precision, machine, settings)
            row["precisions"].append(facts | cell_figures(mine, member, precision))
        row["recommended"] = recommend(row, rows[-1] if rows else None)
        rows.append(row)
    return rows


def build_size_table(
    sizes: Sequence[str],
    dtypes: Sequence[str],
    folder: Path,
    settings: CellSettings,
    weights: Mapping[str, str] | None = None,
    command: str = "",
    each: Callable[[Cell, bool], None] | None = None,
) -> Json:
    """Measure what is not yet on disk below `folder`, and write its `matrix.json`. Returns what it holds.

    `weights` names a folder of real ones for a size; random ones of the shape are measured for the others. `each` is
    called with a cell before it is measured (False) and after (True). Raises InvalidInput for an unknown size or
    precision, UpsizeError where a cell failed.
    """
    around = read_environment()
    machine = around.machine
    chosen, names = members_of(sizes), precisions_to_measure(dtypes, machine, settings)
    cells = [(member, cell) for member, cell in cells_to_measure(chosen, names, machine, settings, weights or {})]
    figure = []
    for member, cell in cells:
        if each is not None:
            each(cell, False)
        figure.append(measure_cell(cell, config_of(member), folder / "cells"))
        if each is not None:
            each(cell, True)
    matrix: Json = {
        "schema": 1,
        "date": datetime.date.today().isoformat(),
        "machine": {
            "processor": machine.processor,
            "cores": machine.cores,
            "memory_bytes": machine.memory,
            "available_bytes": machine.available,
            "bfloat16_products": machine.bfloat16_products,
            "gpus": [g.name for g in machine.gpus],
            "load": around.load,
        },
        "versions": {"upsize": around.upsize, "torch": around.torch, "python": around.python},
        "command": command,
        "settings": asdict(settings),
        "sentence_tokens": SENTENCE,
        "passage_tokens": PASSAGE,
        "batch_passages": BATCH,
        "sizes": table_rows(chosen, names, figure, machine, settings),
        "article": [asdict(c) for c in CLAIMS],
    }
    write_atomic(folder / SIZE_TABLE_FILE, (json.dumps(matrix, indent=2, ensure_ascii=False) + "\n").encode())
    return matrix


def cells_to_measure(
    chosen: Sequence[FamilyMember],
    names: Sequence[str],
    machine: Machine,
    settings: CellSettings,
    weights: Mapping[str, str],
) -> list[tuple[FamilyMember, Cell]]:
    """All cells to measure; none of what cannot fit."""
    return [
        (member, cell)
        for member in chosen
        for precision in names
        if memory_facts(member, precision, machine, settings)["fits"] != "no"
        for cell in cells_of(member, precision, weights.get(member.size, "random"), settings)
    ]
