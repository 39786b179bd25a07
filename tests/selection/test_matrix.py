"""The decision matrix: cells, how a whole is scaled from a few layers, the rule, and the command on a tiny family."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.selection.verdicts import a_matrix
from upsize.catalog import FAMILY, FamilyMember
from upsize.compute import Gpu, Machine
from upsize.diagnostics import Rates
from upsize.diagnostics.size_estimates import config_of
from upsize.errors import InvalidInput, UpsizeError
from upsize.model import open_checkpoint
from upsize.selection.matrix.cells import (
    Cell,
    CellSettings,
    cells_of,
    expected_seconds,
    measure_cell,
    scaled,
    sum_shown,
)
from upsize.selection.matrix.model_shapes import layer_parameters, parameters, write_random
from upsize.selection.matrix.size_table import cell_figures, members_of, precisions_to_measure, recommend
from upsize.selection.matrix.terminal import disturbed_cells
from upsize.selection.report.size_table import size_table_section

TINY = FamilyMember("Qwen/Qwen3-Embedding-0.6B", "embedding", 64, 5, 8, 96, 11_600_000, 1_900_000, 32768)
GPU = Gpu("a GPU", 80 * 10**9)
MACHINE = Machine("a CPU", 8, 32 * 10**9, 30 * 10**9, True, (), "avx512_bf16")
RATES = Rates(
    "cpu",
    {"float32": {1024: 1e11}, "bfloat16": {1024: 2e11, 2560: 2e11}},
    {"float32": {1024: 1e10}, "bfloat16": {1024: 2e10, 2560: 2e10}},
    2e10,
)


@pytest.mark.parametrize("member", [m for m in FAMILY if m.kind == "embedding"], ids=lambda m: m.size)
def test_shapes_have_the_published_number_of_parameters(member: FamilyMember) -> None:
    config = config_of(member)
    # Vocabularies differ by four rows between the sizes.
    assert parameters(config) == pytest.approx(member.parameters, abs=4 * member.hidden_size)
    assert layer_parameters(config) * config.layers == pytest.approx(member.non_embedding_parameters, abs=20_000)


def test_random_weights_are_a_checkpoint(tmp_path: Path) -> None:
    folder = write_random(config_of(TINY), 3, tmp_path / "model")
    checkpoint = open_checkpoint(folder, "embedding")
    assert checkpoint.config.layers == 3
    assert checkpoint.config.hidden_size == 64
    assert len(list(folder.glob("*.safetensors"))) == 4


def test_which_cells() -> None:
    small, large = FAMILY[0], FAMILY[1]
    layers = {(c.name, c.layers) for c in cells_of(small, "bfloat16", "random", CellSettings())}
    assert layers == {
        ("sentence", 2), ("sentence", 4), ("sentence", 28), ("passages", 2), ("passages", 4), ("passages", 28),
        ("long", 1), ("long", 2),
    }  # fmt: skip
    assert {c.layers for c in cells_of(large, "bfloat16", "random", CellSettings())} == {1, 2, 4}
    assert {c.layers for c in cells_of(large, "bfloat16", "random", CellSettings(whole=True))} == {36}
    assert {c.layers for c in cells_of(large, "bfloat16", "/models/4B", CellSettings())} == {36}


def test_a_cell_is_found_again_only_by_the_same_settings() -> None:
    cell = Cell("4B", "bfloat16", "long", 2, (32768,), "random", CellSettings())
    assert cell.file == replace(cell).file
    others = [
        replace(cell, lengths=(8192,)),
        replace(cell, weights="/x"),
        replace(cell, settings=CellSettings(seconds=1)),
    ]
    assert len({cell.file, *(c.file for c in others)}) == 4


def test_expected_time_grows_with_layers_and_length() -> None:
    few, more = (Cell("4B", "bfloat16", "long", n, (32768,), "random", CellSettings()) for n in (1, 2))
    short = replace(more, lengths=(8192,))
    seconds = [expected_seconds(c, FAMILY[1], RATES) for c in (short, few, more)]
    assert seconds == sorted(seconds)


def test_a_whole_from_a_few_layers() -> None:
    assert scaled(3.0, 5.0, (2, 4), 36) == 5 + 32 * 1.0
    assert sum_shown(3.0, 5.0, (2, 4), 36, "s") == "5 + (36 − 4) × (5 − 3) / 2 = 37 s"


def cell_told(name: str, layers: int, seconds: float, lengths: tuple[int, ...] = (27,)) -> dict[str, Any]:
    return {
        "size": "4B", "precision": "bfloat16", "name": name, "layers": layers, "lengths": lengths, "weights": "random",
        "times": [seconds] * 9, "peak": 3_000_000_000, "resident_before": 400_000_000, "device": "cpu",
    }  # fmt: skip


def test_figures_are_measured_or_scaled_and_say_which() -> None:
    member = FAMILY[1]
    told = [cell_told("sentence", 2, 0.03), cell_told("sentence", 4, 0.05), cell_told("passages", 36, 2.0, (128,) * 4)]
    found = cell_figures(told, member, "bfloat16")
    assert found["sentence"]["basis"] == "estimated"
    assert found["sentence"]["p95_ms"] == pytest.approx(50 + 32 * 10)
    assert "50 + (36 − 4) × (50 − 30) / 2 = 370 ms" in found["sentence"]["arithmetic"][0].replace("0.05", "50")
    whole_weights = layer_parameters(config_of(member)) * 32 * 2
    assert found["sentence"]["peak_bytes"] == 2_600_000_000 + whole_weights
    assert found["passages"]["basis"] == "measured"
    assert found["passages"]["tokens_per_second"] == pytest.approx(256)
    assert found["passages"]["peak_bytes"] == 2_600_000_000
    assert "long" not in found


def test_a_figure_that_was_disturbed_says_so() -> None:
    quiet, busy = (cell_told("sentence", n, 0.05) | {"busy": share} for n, share in ((2, 0.0), (4, 0.4)))
    figure = cell_figures([quiet, busy], FAMILY[1], "bfloat16")["sentence"]
    assert figure["busy"] == 0.4
    old = cell_figures([cell_told("sentence", 36, 0.05)], FAMILY[1], "bfloat16")["sentence"]
    assert old["busy"] == 0.0, "cells of an earlier version do not tell"
    matrix = a_matrix()
    assert disturbed_cells(matrix) == []
    matrix["sizes"][0]["precisions"][0]["sentence"]["busy"] = 0.4
    (line,) = disturbed_cells(matrix)
    assert "40% of the processor" in line
    assert "40</data> %" in size_table_section(matrix)


def test_scaling_is_held_against_the_whole() -> None:
    told = [cell_told("sentence", n, 0.01 + 0.01 * n) for n in (2, 4, 36)]
    figure = cell_figures(told, FAMILY[1], "bfloat16")["sentence"]
    assert figure["basis"] == "measured"
    assert figure["scaled_over_whole"] == pytest.approx({"p50_ms": 1.0, "p95_ms": 1.0})


def a_row(p95: float, rate: float, fits: str = "yes", headroom: int = 10**9) -> dict[str, Any]:
    p = {
        "precision": "bfloat16",
        "weight_bytes": 8 * 10**9,
        "work_bytes": 10**9,
        "fits": fits,
        "headroom_bytes": headroom,
    }
    if fits != "no":
        p |= {"sentence": {"p95_ms": p95}, "passages": {"tokens_per_second": rate}}
    return {"size": "4B", "published": {"multilingual": 69.45}, "precisions": [p]}


@pytest.mark.parametrize(
    ("row", "use"),
    [
        (a_row(50, 1000), "queries and a corpus"),
        (a_row(50, 20), "queries; embed a corpus elsewhere"),
        (a_row(2000, 1000), "a corpus, and queries that may wait"),
        (a_row(2000, 20), "judging and rescoring a few candidates"),
        (a_row(0, 0, "no", -(10**9)), "not on this machine"),
    ],
)
def test_the_use_follows_from_the_facts(row: dict[str, Any], use: str) -> None:
    smaller = {"size": "0.6B", "published": {"multilingual": 64.33}}
    found = recommend(row, smaller)
    assert found["use"] == use
    if use == "not on this machine":
        assert found["because"] == ["needs 9.0 GB for a long text, 1.0 GB more than there are"]
    else:
        assert "published multilingual mean +5.12 points over 0.6B" in found["because"]


def test_unknown_names_say_what_there_is() -> None:
    with pytest.raises(InvalidInput, match=r"there are 0\.6B, 4B, 8B"):
        members_of(["2B"])
    with pytest.raises(InvalidInput, match=r"int3.*use int8, .*bfloat16"):
        precisions_to_measure(["int3"], MACHINE, CellSettings())


@pytest.mark.parametrize(
    ("changed", "names"),
    [
        ({}, ["int8", "bfloat16"]),
        ({"torch": False}, ["int8", "bfloat16"]),
        ({"kernels": None}, ["bfloat16", "float32"]),
        ({"gpus": (GPU,)}, ["bfloat16", "float32"]),
    ],
)
def test_the_precisions_that_serve_best_here(changed: dict[str, Any], names: list[str]) -> None:
    assert precisions_to_measure([], replace(MACHINE, **changed), CellSettings()) == names


def test_a_cell_in_a_process_of_its_own(tmp_path: Path) -> None:
    cell = Cell("0.6B", "bfloat16", "long", 1, (64,), "random", CellSettings(device="cpu"))
    told = measure_cell(cell, config_of(TINY), tmp_path)
    assert len(told["times"]) == 1
    assert told["peak"] > told["resident_before"] > 10**7
    assert json.loads((tmp_path / cell.file).read_text()) == told
    with pytest.raises(UpsizeError, match=r"0\.6B bfloat16, long on 1 layers: the measuring process ended"):
        measure_cell(replace(cell, weights=str(tmp_path / "none")), config_of(TINY), tmp_path)
