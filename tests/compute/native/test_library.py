"""The compiled library refuses shapes that its buffers do not hold, and a library of another version is not used."""

from __future__ import annotations

import ctypes
import logging
from collections.abc import Iterator
from ctypes import byref

import numpy as np
import pytest

from upsize.compute.native import library as c
from upsize.compute.native.packing import pack_int8


@pytest.fixture
def reloaded(built: ctypes.CDLL) -> Iterator[None]:
    """The next call of `library` loads it anew; after the test so does another one."""
    c.library.cache_clear()
    yield
    c.library.cache_clear()


@pytest.mark.parametrize(
    "shape",
    [
        {"hidden": c.MAX_HIDDEN + 64, "head_dim": 64},
        {"hidden": 64, "head_dim": c.MAX_HEAD_DIM + 64},
        {"hidden": 64, "head_dim": 64, "qkv": c.CMatrix(inputs=128, weight_type=c.BF16)},
    ],
    ids=["hidden", "head_dim", "inputs"],
)
def test_a_layer_beyond_the_stack_buffers_is_an_error(
    built: ctypes.CDLL, level: str, shape: dict[str, int | c.CMatrix]
) -> None:
    matrix = c.CMatrix(inputs=shape["hidden"], weight_type=c.BF16)
    layer = c.CLayer(**({"qkv": matrix, "gate_up": matrix, "output": matrix, "down": matrix} | shape))
    for call in (built.upsize_qkv_forward, built.upsize_attn_mlp_forward):
        with pytest.raises(ValueError, match="does not fit the compiled kernels' buffers"):
            call(byref(layer), byref(c.CBatch()), 0, 1)


def test_groups_smaller_than_the_scratch_memory_assumes_are_an_error(built: ctypes.CDLL, level: str) -> None:
    x, out = np.ones((1, 64), np.float32), np.empty((1, 64), np.float32)
    packed = pack_int8(np.ones((64, 64), np.float32))
    assert packed.scales is not None
    matrix = c.CMatrix(packed.panels.ctypes.data, packed.scales.ctypes.data, 64, 64, 8, c.INT8)
    with pytest.raises(ValueError, match="int8 groups of 16 inputs or more"):
        built.upsize_linear(byref(matrix), x.ctypes.data, 1, out.ctypes.data)


def test_memory_that_does_not_suffice_is_a_memory_error() -> None:
    with pytest.raises(MemoryError, match="cannot allocate"):
        c.raise_for_status(c.OUT_OF_MEMORY)


def test_a_library_with_other_structures_is_not_used(
    reloaded: None, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class OtherBatch(c.CBatch):
        _fields_ = (("new", ctypes.c_int64),)

    monkeypatch.setattr(c, "CBatch", OtherBatch)
    with caplog.at_level(logging.WARNING):
        assert c.library() is None
    assert "was built from another version of the source" in caplog.text
