"""The compiled library, and the structures that it takes, field by field as in `csrc/types.h`.

It is built with the package where a compiler is at hand. Plain C calls through ctypes: no link to torch or to Python,
and other threads run while a call does.
"""

from __future__ import annotations

import ctypes
import logging
from ctypes import POINTER, Structure, c_float, c_int, c_int32, c_int64, c_size_t, c_void_p
from functools import cache
from pathlib import Path

from upsize.model.config import ModelConfig

log = logging.getLogger(__name__)

LEVELS = ("plain", "avx2", "avx512_vnni", "avx512_bf16")
"""What the kernels are compiled for, from the plainest to the best; the best that the processor has is used."""
INT8, BF16 = 0, 1
"""Kinds of a packed matrix."""
PANEL = 64
"""Outputs side by side in a packed matrix; also the slots whose keys lie together."""


class Matrix(Structure):
    """A packed matrix."""

    _fields_ = (
        ("panels", c_void_p),
        ("scales", c_void_p),
        ("inputs", c_int32),
        ("outputs", c_int32),
        ("group", c_int32),
        ("kind", c_int32),
    )


class CLayer(Structure):
    """One layer's matrices and norms."""

    _fields_ = (
        *((name, Matrix) for name in ("qkv", "output", "gate_up", "down")),
        *((name, c_void_p) for name in ("input_norm", "q_norm", "k_norm", "mlp_norm")),
        *((name, c_int32) for name in ("hidden", "heads", "kv_heads", "head_dim", "intermediate")),
        ("eps", c_float),
    )


class CBatch(Structure):
    """Rows on their way through the network."""

    _fields_ = (
        *((name, c_void_p) for name in ("states", "queries", "cos", "sin", "keys", "values", "first", "slot")),
        ("slots", c_int64),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The compiled library, or None where it was not built or cannot be read."""
    path = next(Path(__file__).parent.glob("libupsize*.so"), None)
    if path is None:
        return None
    try:
        found = ctypes.CDLL(str(path))
    except OSError as error:
        log.warning("%s cannot be loaded, so products run in torch: %s", path, error)
        return None
    found.upsize_level.argtypes = found.upsize_threads.argtypes = found.upsize_use_threads.argtypes = [c_int]
    found.upsize_project.argtypes = found.upsize_finish.argtypes = [POINTER(CLayer), POINTER(CBatch), c_int, c_int]
    found.upsize_turn.argtypes = [c_void_p, c_int, c_int]
    found.upsize_linear.argtypes = [POINTER(Matrix), c_void_p, c_int, c_void_p]
    if hasattr(found, "upsize_watch"):
        found.upsize_watch.argtypes = [c_void_p, c_size_t]
        found.upsize_unwatch.argtypes = found.upsize_damaged.argtypes = [c_int]
    else:
        log.warning("%s was built from an earlier version of the source: build it again (pip install -e .)", path)
    return found


def level() -> str | None:
    """The best level that this machine runs, or None without the library."""
    found = library()
    return None if found is None else LEVELS[found.upsize_best_level()]


def supports_shape(config: ModelConfig) -> bool:
    """Whether a network of that shape fits the kernels' fixed buffers. All of the family do, four times over."""
    return config.hidden_size <= 1 << 14 and config.head_dim <= 512
