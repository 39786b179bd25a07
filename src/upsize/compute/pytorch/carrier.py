"""TorchNetwork: a checkpoint on torch, numpy arrays in and out."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch
from ml_dtypes import bfloat16
from numpy.typing import NDArray
from torch import Tensor

from upsize.compute.plan import FP8, Plan
from upsize.compute.pytorch.cpu import CpuBackend
from upsize.compute.pytorch.cuda import CudaBackend
from upsize.compute.pytorch.graphs import Graphs
from upsize.compute.pytorch.network import Qwen3
from upsize.model.config import ModelConfig
from upsize.model.weights import Array


class TorchNetwork:
    """The network of a checkpoint on the device and in the precision of a plan."""

    def __init__(
        self, config: ModelConfig, load: Callable[[str], Array], plan: Plan, bfloat16_products: bool, threads: int
    ) -> None:
        """`load` gives tensors by name. `threads` is for the whole process, on a CPU."""
        fp8 = plan.precision == FP8
        precision = torch.bfloat16 if fp8 else getattr(torch, plan.precision)
        self._device = torch.device(plan.device)
        backend: CpuBackend | CudaBackend
        if plan.device == "cpu":
            torch.set_num_threads(threads)
            backend = CpuBackend(precision, bfloat16_products)
        else:
            backend = CudaBackend(precision, self._device, fp8)
        self.arithmetic = FP8 if fp8 else str(backend.dtype).removeprefix("torch.")
        with torch.inference_mode():
            self._network = Qwen3(config, lambda name: tensor(load(name)), backend)
        graphed = self._device.type == "cuda" and backend.dtype != torch.float32
        self._graphs = Graphs(self._network) if graphed else None

    def use_threads(self, count: int) -> None:
        """Nothing: torch's threads are not ours to count while others may be computing."""

    @torch.inference_mode()
    def forward(self, ids: NDArray[np.integer], cu: Sequence[int]) -> Generator[bool, None, NDArray[np.float32]]:
        """As `Qwen3.forward`. Its last pause is True: all is launched, and on a GPU may still be under way.

        MemoryError where the device has not enough.
        """
        try:
            if self._graphs and self._graphs.take(len(ids), len(cu) - 1):
                states = self._graphs.run(ids, cu)
            else:
                states = yield from self._network.forward(torch.from_numpy(ids).to(self._device), cu)
            yield True
            result: NDArray[np.float32] = states.cpu().numpy()
            return result
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error
        except RuntimeError as error:
            if "can't allocate memory" in str(error):  # what the CPU allocator raises
                raise MemoryError(str(error)) from error
            raise


def tensor(array: Array) -> Tensor:
    """The same values, not copied; numpy knows bfloat16 by its bits alone as far as torch is concerned."""
    if array.dtype == bfloat16:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)
