"""The GEMM of every level against exact arithmetic, at many shapes and with extreme values."""

from __future__ import annotations

import ctypes
from ctypes import byref

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from ml_dtypes import bfloat16
from numpy.typing import NDArray

from upsize.compute.native import library as c
from upsize.compute.native.packing import PackedMatrix, pack_bfloat16, pack_int8

Floats = NDArray[np.float32]
SHAPES = {
    "rows": st.integers(1, 40),
    "inputs": st.integers(1, 300),
    "outputs": st.integers(1, 200),
    "group": st.sampled_from([16, 128, 4096]),
    "seed": st.integers(0, 999),
}
shapes = given(**SHAPES)
each_level = settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])


def gemm(library: ctypes.CDLL, packed: PackedMatrix, x: Floats, outputs: int, group: int = 128) -> Floats:
    scales = None if packed.scales is None else packed.scales.ctypes.data
    kind = c.BF16 if packed.scales is None else c.INT8
    matrix = c.CMatrix(packed.panels.ctypes.data, scales, x.shape[1], outputs, group, kind)
    out = np.empty((len(x), outputs), np.float32)
    library.upsize_linear(byref(matrix), np.ascontiguousarray(x).ctypes.data, len(x), out.ctypes.data)
    return out


def by_definition(x: Floats, weight: Floats, group: int) -> Floats:
    """Both operands quantised to int8, multiplied exactly."""
    scales = np.abs(weight).max(1, keepdims=True).astype(np.float64) / 127
    weights = np.rint(weight / np.maximum(scales, 1e-300)) * scales
    rounded = np.zeros(x.shape, np.float64)
    for start in range(0, x.shape[1], group):
        part = x[:, start : start + group].astype(np.float64)
        scale = np.maximum(np.abs(part).max(1, keepdims=True) / 127, 1e-300)
        rounded[:, start : start + group] = np.rint(part / scale) * scale
    return np.asarray(rounded @ weights.T, np.float32)


def noise(seed: int, rows: int, inputs: int, outputs: int) -> tuple[Floats, Floats]:
    """Rows of very different magnitudes, some zero, with one outlier column; some rows of weights are zero."""
    rng = np.random.default_rng(seed)
    x = rng.standard_normal((rows, inputs)) * 10.0 ** rng.integers(-6, 7, (rows, 1))
    x[rng.random(rows) < 0.1] = 0
    x[:, rng.integers(inputs)] *= 100
    weight = rng.standard_normal((outputs, inputs)).astype(np.float32) / 16
    weight[rng.random(outputs) < 0.05] = 0
    return x.astype(np.float32), weight


@shapes
@each_level
def test_int8_is_the_exact_gemm_of_the_quantised_operands(
    built: ctypes.CDLL, level: str, rows: int, inputs: int, outputs: int, group: int, seed: int
) -> None:
    x, weight = noise(seed, rows, inputs, outputs)
    found = gemm(built, pack_int8(weight), x, outputs, group)
    expected = by_definition(x, weight, group)
    # A value that lies between two steps may be rounded either way: one step of one input.
    step = np.abs(x).max(1, keepdims=True) / 127 * np.abs(weight).max(1)
    assert (np.abs(found - expected) <= 2 * step + 1e-5 * np.abs(expected)).all()
    assert np.abs(found - expected).mean() <= 0.05 * step.mean() + 1e-30


@shapes
@each_level
def test_bfloat16_is_the_exact_gemm_of_the_rounded_operands(
    built: ctypes.CDLL, level: str, rows: int, inputs: int, outputs: int, group: int, seed: int
) -> None:
    x, weight = noise(seed, rows, inputs, outputs)
    found = gemm(built, pack_bfloat16(weight), x, outputs)
    left, right = (operand.astype(bfloat16).astype(np.float64) for operand in (x, weight))
    bound = np.abs(left) @ np.abs(right).T
    assert (np.abs(found - left @ right.T) <= 1e-5 * bound + 1e-30).all()


@pytest.mark.parametrize("rows", [96, 131, 600])
@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_a_row_does_not_depend_on_the_others(built: ctypes.CDLL, level: str, rows: int, precision: str) -> None:
    x, weight = noise(rows, rows, 72, 70)
    packed = (pack_int8 if precision == "int8" else pack_bfloat16)(weight)
    together = gemm(built, packed, x, 70)
    for row in (0, 5, rows - 1):
        np.testing.assert_array_equal(gemm(built, packed, x[row : row + 1], 70)[0], together[row])


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("inputs", [2, 4096])
def test_the_largest_products_do_not_saturate(built: ctypes.CDLL, level: str, inputs: int, sign: int) -> None:
    x, weight = np.full((7, inputs), sign * 3.0, np.float32), np.full((65, inputs), 2.0, np.float32)
    np.testing.assert_allclose(gemm(built, pack_int8(weight), x, 65), sign * 6.0 * inputs, rtol=1e-5)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_a_value_that_is_not_finite_affects_one_row(built: ctypes.CDLL, level: str, bad: float, precision: str) -> None:
    x, weight = noise(3, 9, 140, 70)
    packed = (pack_int8 if precision == "int8" else pack_bfloat16)(weight)
    good = gemm(built, packed, x, 70)
    x[4, 137] = bad
    found = gemm(built, packed, x, 70)
    assert not np.isfinite(found[4]).any()
    np.testing.assert_array_equal(np.delete(found, 4, 0), np.delete(good, 4, 0))
