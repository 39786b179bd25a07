"""Qwen3 on compiled CPU kernels: int8 with dynamic activations, and bfloat16.

`csrc` holds the C++ kernels and `library` loads them. `packing` converts a checkpoint's tensors to packed weights,
`packed_weights` keeps those on disk, `qwen3` runs the network, and `prefix_cache` keeps keys and values of prefixes
that texts share. The package needs numpy and no torch; the tests compare it with the torch implementation.
"""

from upsize.compute.native.library import level, supports_shape
from upsize.compute.native.packed_weights import load_network, packed_file
from upsize.compute.native.packing import QUANTIZATION, LayerAtATime, packed_arrays
from upsize.compute.native.prefix_cache import max_prefix_cache_bytes
from upsize.compute.native.qwen3 import NativeQwen3

__all__ = [
    "QUANTIZATION",
    "LayerAtATime",
    "NativeQwen3",
    "level",
    "load_network",
    "max_prefix_cache_bytes",
    "packed_arrays",
    "packed_file",
    "supports_shape",
]
