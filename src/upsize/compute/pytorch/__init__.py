"""Qwen3 on torch: for GPUs, and on a CPU for the precisions that the compiled kernels do not run.

`qwen3` is the network, written once against the operations of `Backend`. `cpu` and `cuda` implement them; `operations`
has what both share, `fused` the Triton kernels, `graphs` the CUDA graphs. `torch_network` is the adapter that takes
and gives numpy arrays, as the compiled network does. No other package imports torch, so a CPU can do without it.
"""

from upsize.compute.pytorch.cpu import CpuBackend
from upsize.compute.pytorch.cuda import CudaBackend
from upsize.compute.pytorch.qwen3 import Backend, Qwen3
from upsize.compute.pytorch.torch_network import TorchNetwork, tensor

__all__ = ["Backend", "CpuBackend", "CudaBackend", "Qwen3", "TorchNetwork", "tensor"]
