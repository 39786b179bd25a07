"""TorchNetwork: the adapter from numpy arrays to the torch network."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence

import numpy as np
import torch
from ml_dtypes import bfloat16
from numpy.typing import NDArray
from torch import Tensor

from upsize.compute.plan import FP8, ExecutionPlan
from upsize.compute.pytorch.cpu import CpuBackend
from upsize.compute.pytorch.cuda import CudaBackend
from upsize.compute.pytorch.graphs import Graphs
from upsize.compute.pytorch.qwen3 import Qwen3
from upsize.model.config import ModelConfig
from upsize.model.stored_tensor import Array


class TorchNetwork:
    """The network of a checkpoint on the device and in the precision of a plan."""

    def __init__(
        self,
        config: ModelConfig,
        load: Callable[[str], Array],
        plan: ExecutionPlan,
        bfloat16_products: bool,
        threads: int,
    ) -> None:
        """`load` returns an array by tensor name. `threads` holds for the whole process, on a CPU."""
        fp8 = plan.precision == FP8
        precision = torch.bfloat16 if fp8 else getattr(torch, plan.precision)
        self._device = torch.device("cuda:0" if plan.device == "cuda" else plan.device)
        backend: CpuBackend | CudaBackend
        if plan.device == "cpu":
            torch.set_num_threads(threads)
            backend = CpuBackend(precision, bfloat16_products)
        else:
            backend = CudaBackend(precision, self._device, fp8)
        self.compute_dtype = FP8 if fp8 else str(backend.dtype).removeprefix("torch.")
        with torch.inference_mode():
            self._network = Qwen3(config, lambda name: tensor(load(name)), backend)
        graphed = self._device.type == "cuda" and backend.dtype != torch.float32
        self._graphs = Graphs(self._network) if graphed else None

    def use_threads(self, count: int) -> None:
        """Do nothing: torch's thread count must not change while another network may be computing."""

    @torch.inference_mode()
    def forward(self, ids: NDArray[np.integer], cu: Sequence[int]) -> Generator[bool, None, NDArray[np.float32]]:
        """As `Network.forward`."""
        try:
            self._choose_device()
            if self._graphs and self._graphs.fits(len(ids), len(cu) - 1):
                hidden_states = self._graphs.run(ids, cu)
            else:
                steps = self._network.forward(torch.from_numpy(ids).to(self._device), cu)
                hidden_states = yield from self._on_device(steps)
            yield True
            result: NDArray[np.float32] = hidden_states.cpu().numpy()
            return result
        except torch.OutOfMemoryError as error:
            raise MemoryError(str(error)) from error
        except RuntimeError as error:
            if "can't allocate memory" in str(error):  # what the CPU allocator raises
                raise MemoryError(str(error)) from error
            raise

    def _on_device(self, steps: Generator[bool, None, Tensor]) -> Generator[bool, None, Tensor]:
        """Run the steps on this network's GPU: other work may have selected another one at a yield point."""
        while True:
            self._choose_device()
            try:
                yield next(steps)
            except StopIteration as end:
                hidden_states: Tensor = end.value
                return hidden_states

    def _choose_device(self) -> None:
        """Triton and CUDA graphs launch on the thread's current GPU, not on that of their tensors."""
        if self._device.type == "cuda":
            torch.cuda.set_device(self._device)


def tensor(array: Array) -> Tensor:
    """The array as a tensor that shares its memory. torch takes numpy's bfloat16 as bits only."""
    if array.dtype == bfloat16:
        return torch.from_numpy(array.view(np.uint16)).view(torch.bfloat16)
    return torch.from_numpy(array)
