"""The compiled library, and the structures that it takes, field by field as in `csrc/types.h`.

The package builds it where a compiler is at hand. Python calls plain C functions through ctypes: the library does not
link to torch or to Python, and other Python threads run during a call.
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
"""Levels of instruction sets that the kernels are compiled for, from the most portable to the fastest. The library uses
the fastest one that the processor runs."""
INT8, BF16 = 0, 1
"""Weight types of a packed matrix."""
PANEL = 64
"""Outputs in one panel of a packed matrix; also the slots whose keys lie in one panel."""
MAX_HIDDEN, MAX_HEAD_DIM = 1 << 14, 512
"""Sizes of the kernels' stack buffers, as in `csrc/types.h`: four times those of the largest model of the family."""
UNSUPPORTED_SHAPE, OUT_OF_MEMORY = 1, 2
"""Status codes of a call that failed, as in `csrc/types.h`."""


class CMatrix(Structure):
    """A packed matrix: `PackedMatrix` in C++."""

    _fields_ = (
        ("panels", c_void_p),
        ("scales", c_void_p),
        ("inputs", c_int32),
        ("outputs", c_int32),
        ("group", c_int32),
        ("weight_type", c_int32),
    )


class CLayer(Structure):
    """Matrices and norms of one layer: `Layer` in C++."""

    _fields_ = (
        *((name, CMatrix) for name in ("qkv", "output", "gate_up", "down")),
        *((name, c_void_p) for name in ("input_norm", "q_norm", "k_norm", "mlp_norm")),
        *((name, c_int32) for name in ("hidden", "heads", "kv_heads", "head_dim", "intermediate")),
        ("eps", c_float),
    )


class CBatch(Structure):
    """The rows of a batch in one layer: `Batch` in C++."""

    _fields_ = (
        *((name, c_void_p) for name in ("hidden_states", "queries", "cos", "sin")),
        *((name, c_void_p) for name in ("keys", "values", "first_slot", "slot")),
        ("slots", c_int64),
    )


@cache
def library() -> ctypes.CDLL | None:
    """The compiled library; None where it is missing, cannot be loaded, or was built from another version."""
    path = next(Path(__file__).parent.glob("libupsize*.so"), None)
    if path is None:
        return None
    try:
        loaded = ctypes.CDLL(str(path))
    except OSError as error:
        log.warning("%s cannot be loaded, so matrix products run in torch: %s", path, error)
        return None
    sizes = [ctypes.sizeof(structure) for structure in (CMatrix, CLayer, CBatch)]
    if not hasattr(loaded, "upsize_struct_sizes") or _struct_sizes(loaded) != sizes:
        log.warning(
            "%s was built from another version of the source, so matrix products run in torch: "
            "build it again (pip install -e .)",
            path,
        )
        return None
    for function in (loaded.upsize_level, loaded.upsize_set_threads, loaded.upsize_use_threads):
        function.argtypes = [c_int]
    for function in (loaded.upsize_qkv_forward, loaded.upsize_attn_mlp_forward):
        function.argtypes = [POINTER(CLayer), POINTER(CBatch), c_int, c_int]
        function.restype = raise_for_status
    loaded.upsize_rotate.argtypes = [c_void_p, c_int, c_int]
    loaded.upsize_linear.argtypes = [POINTER(CMatrix), c_void_p, c_int, c_void_p]
    loaded.upsize_linear.restype = raise_for_status
    loaded.upsize_watch.argtypes = [c_void_p, c_size_t]
    loaded.upsize_unwatch.argtypes = loaded.upsize_damaged.argtypes = [c_int]
    return loaded


def _struct_sizes(loaded: ctypes.CDLL) -> list[int]:
    sizes = (c_int32 * 3)()
    loaded.upsize_struct_sizes(sizes)
    return list(sizes)


def raise_for_status(status: int) -> None:
    """Raise MemoryError or ValueError for the status code of a failed call."""
    if status == OUT_OF_MEMORY:
        raise MemoryError("the compiled kernels cannot allocate their scratch memory")
    if status == UNSUPPORTED_SHAPE:
        raise ValueError(
            f"the layer does not fit the compiled kernels' buffers: at most {MAX_HIDDEN} hidden values, {MAX_HEAD_DIM} "
            "values a head, and int8 groups of 16 inputs or more"
        )


def level() -> str | None:
    """The fastest level that this machine runs; None without the library."""
    loaded = library()
    return None if loaded is None else LEVELS[loaded.upsize_best_level()]


def supports_shape(config: ModelConfig) -> bool:
    """Whether a network of this shape fits the kernels' stack buffers. Every model of the family does."""
    return config.hidden_size <= MAX_HIDDEN and config.head_dim <= MAX_HEAD_DIM
