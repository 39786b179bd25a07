"""The network on compiled kernels, for CPUs: int8 with dynamic activations, and bfloat16 where the processor has it.

`csrc` holds the kernels, `library` loads them, `packing` makes of a checkpoint what they read, `stored` keeps that on
disk, `network` runs it, `prefixes` remembers beginnings that texts share. Where the library was not built the torch
network does the work; it is also what the tests hold this one against.
"""

from upsize.compute.native.library import level, takes
from upsize.compute.native.network import NativeQwen3
from upsize.compute.native.packing import QUANTIZATION, packed_arrays, token_vectors
from upsize.compute.native.stored import cache_folder, load_network, packed_file

__all__ = [
    "QUANTIZATION",
    "NativeQwen3",
    "cache_folder",
    "level",
    "load_network",
    "packed_arrays",
    "packed_file",
    "takes",
    "token_vectors",
]
