"""LoadedModel: a checkpoint on a device, ready to run packed batches."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import accumulate
from os import PathLike

import numpy as np
import torch

from upsize.catalog import Kind
from upsize.compute import native
from upsize.compute.agreement import LEAST, agreement
from upsize.compute.cpu import CpuBackend
from upsize.compute.cuda import CudaBackend
from upsize.compute.machine import Machine, this_machine
from upsize.compute.plan import INT8, PRECISIONS, Plan, plan
from upsize.errors import OutOfMemory
from upsize.model import Backend, Checkpoint, HubOptions, Qwen3, locate, open_checkpoint, rerank_direction
from upsize.model.heads import Vectors
from upsize.model.tokenizer import Ids


class LoadedModel:
    """The network of a checkpoint on the device and in the precision of a plan."""

    def __init__(self, checkpoint: Checkpoint, plan: Plan, machine: Machine | None = None) -> None:
        self.checkpoint, self.plan = checkpoint, plan
        quantization = native.QUANTIZATION if plan.precision == INT8 else "none"
        self.fingerprint = checkpoint.fingerprint(plan.precision, plan.max_length, quantization)
        machine = machine or this_machine()
        if plan.device == "cpu" and torch.get_num_threads() > machine.cores:
            torch.set_num_threads(machine.cores)  # torch sees the machine's cores, not the container's share of them
        self.threads = torch.get_num_threads() if plan.device == "cpu" else 1
        self.arithmetic = plan.precision
        """What products are computed in; on a CPU without bfloat16 products that is float32."""
        self._device = torch.device(plan.device)
        self._network: Qwen3 | native.NativeQwen3
        with torch.inference_mode():
            if plan.compiled:
                self._network = native.load_network(checkpoint, plan.precision, self.threads)
            else:
                backend = _backend(plan, machine)
                self.arithmetic = str(backend.dtype).removeprefix("torch.")
                self._network = Qwen3(checkpoint.config, checkpoint.weights.load, backend)
            ranks = checkpoint.kind == "reranker"
            self._direction = rerank_direction(checkpoint).to(self._device) if ranks else None
        self.agreement = None
        """Centred cosine of int8 with the checkpoint's own precision, of the worst built-in text."""
        if isinstance(self._network, native.NativeQwen3) and plan.precision == INT8:
            self.agreement = agreement(checkpoint, self._network, machine.bfloat16_products)

    def spare_a_core(self, spare: bool) -> None:
        """From now on, in this process, leave one core to others, or take all. Without compiled kernels nothing."""
        if isinstance(self._network, native.NativeQwen3):
            self._network.use_threads(self.threads - 1 if spare else self.threads)

    @torch.inference_mode()
    def run(self, sequences: Sequence[Ids]) -> Generator[bool, None, Vectors]:
        """Run one packed batch. Pauses between slabs, yielding whether all work is launched (on a GPU it may then
        still be under way); its value is float32 on the host: last states
        (sequences, hidden) of an embedder, log-odds (sequences,) of a reranker.

        Raises OutOfMemory where the device's memory does not suffice.
        """
        tokens, cu = sum(map(len, sequences)), [0, *accumulate(map(len, sequences))]
        try:
            ids = np.concatenate(sequences)
            if isinstance(self._network, Qwen3):
                states = yield from self._network.forward(torch.from_numpy(ids).to(self._device), cu)
            else:
                states = torch.from_numpy((yield from self._network.forward(ids, cu)))
            if self._direction is not None:
                states = states @ self._direction
            yield True
            result: Vectors = states.cpu().numpy()
            return result
        except (torch.OutOfMemoryError, MemoryError) as error:
            raise OutOfMemory(tokens, str(self._device)) from error
        except RuntimeError as error:
            if "can't allocate memory" in str(error):  # what the CPU allocator raises
                raise OutOfMemory(tokens, str(self._device)) from error
            raise


def load_model(
    model: str | PathLike[str],
    *,
    kind: Kind | None = None,
    device: str = "auto",
    dtype: str = "auto",
    max_length: int | None = None,
    budget: int | None = None,
    hub: HubOptions = HubOptions(),
) -> LoadedModel:
    """From what a user calls a model (folder, hub id, demo name) to one that runs here.

    Raises CheckpointError, HubError, InvalidInput (device, dtype, max_length) or UpsizeError (does not fit).
    """
    checkpoint = open_checkpoint(locate(model, hub), kind)
    machine = this_machine()
    derived = plan(checkpoint, machine, device=device, dtype=dtype, max_length=max_length, budget=budget)
    loaded = LoadedModel(checkpoint, derived, machine)
    if loaded.agreement is None or loaded.agreement >= LEAST:
        return loaded
    note = (
        f"int8 keeps a centred cosine of only {loaded.agreement:.3f} with the checkpoint's own precision on the "
        f"built-in texts ({LEAST} is the least), so it runs in the latter"
    )
    derived = plan(checkpoint, machine, device=device, max_length=max_length, budget=budget)
    return LoadedModel(checkpoint, replace(derived, notes=(*derived.notes, note)), machine)


def _backend(plan: Plan, machine: Machine) -> Backend:
    precision = PRECISIONS[plan.precision]
    if plan.device == "cpu":
        return CpuBackend(precision, machine.bfloat16_products)
    return CudaBackend(precision, torch.device(plan.device))
