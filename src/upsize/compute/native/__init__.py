"""The network on compiled kernels, for CPUs: int8 with dynamic activations, and bfloat16.

`csrc` holds the kernels, `library` loads them, `packing` makes of a checkpoint what they read, `stored` keeps that on
disk, `network` runs it, `prefixes` remembers beginnings that texts share. All of it is numpy: an installation without
torch serves by it. The torch network is what the tests hold it against.
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
