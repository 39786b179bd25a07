"""The network on torch: on GPUs, and on a CPU where the compiled kernels do not carry a precision.

`network` is Qwen3 written once against the operations of `Backend`, which `cpu` and `cuda` supply; what they do
alike is in `operations`. `carrier` takes and gives numpy arrays, as the compiled network does. Nothing else in the
house knows torch, so a CPU does without it.
"""

from upsize.compute.pytorch.cpu import CpuBackend
from upsize.compute.pytorch.cuda import CudaBackend
from upsize.compute.pytorch.qwen3 import Backend, Qwen3
from upsize.compute.pytorch.torch_network import TorchNetwork, tensor

__all__ = ["Backend", "CpuBackend", "CudaBackend", "Qwen3", "TorchNetwork", "tensor"]
