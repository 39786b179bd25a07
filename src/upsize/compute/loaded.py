"""LoadedModel: a checkpoint on a device, ready to run packed batches."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from itertools import accumulate
from os import PathLike
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from upsize.catalog import Kind
from upsize.compute import native
from upsize.compute.agreement import LEAST, agreement
from upsize.compute.machine import Machine, this_machine
from upsize.compute.plan import INT8, Plan, plan
from upsize.errors import OutOfMemory
from upsize.model import Checkpoint, HubOptions, locate, open_checkpoint, rerank_direction
from upsize.model.heads import Vectors
from upsize.model.tokenizer import Ids


class Network(Protocol):
    """Qwen3 without its head, packed: `native.NativeQwen3` or `pytorch.TorchNetwork`."""

    arithmetic: str
    """What products are computed in; in torch, on a CPU without bfloat16 products, that is float32."""

    def forward(self, ids: NDArray[np.integer], cu: Sequence[int]) -> Generator[bool, None, Vectors]:
        """Last states after the final norm, (sequences, hidden) in float32, of the sequences laid end to end in `ids`
        and bounded by `cu`. Pauses between slabs, at last with True: all is launched."""

    def use_threads(self, count: int) -> None:
        """Compute on so many of the process's threads from now on, if that can be."""


class LoadedModel:
    """The network of a checkpoint on the device and in the precision of a plan."""

    def __init__(self, checkpoint: Checkpoint, plan: Plan, machine: Machine | None = None) -> None:
        self.checkpoint, self.plan = checkpoint, plan
        quantization = native.QUANTIZATION if plan.precision == INT8 else "none"
        self.fingerprint = checkpoint.fingerprint(plan.precision, plan.max_length, quantization)
        machine = machine or this_machine()
        self.threads = machine.threads if plan.device == "cpu" else 1
        self._network = _network(checkpoint, plan, machine)
        self.arithmetic = self._network.arithmetic
        self._direction = rerank_direction(checkpoint) if checkpoint.kind == "reranker" else None
        self.agreement = None
        """Centred cosine of int8 with bfloat16, of the worst built-in text."""
        if isinstance(self._network, native.NativeQwen3) and plan.precision == INT8:
            self.agreement = agreement(checkpoint, self._network, self.threads)

    def spare_a_core(self, spare: bool) -> None:
        """From now on, in this process, leave one core to others, or take all. Without compiled kernels nothing."""
        self._network.use_threads(self.threads - 1 if spare else self.threads)

    def run(self, sequences: Sequence[Ids]) -> Generator[bool, None, Vectors]:
        """Run one packed batch. Pauses between slabs, yielding whether all work is launched (on a GPU it may then
        still be under way); its value is float32 on the host: last states
        (sequences, hidden) of an embedder, log-odds (sequences,) of a reranker.

        Raises OutOfMemory where the device's memory does not suffice.
        """
        tokens, cu = sum(map(len, sequences)), [0, *accumulate(map(len, sequences))]
        try:
            states = yield from self._network.forward(np.concatenate(sequences), cu)
        except MemoryError as error:
            raise OutOfMemory(tokens, self.plan.device) from error
        return states if self._direction is None else states @ self._direction


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
        f"int8 keeps a centred cosine of only {loaded.agreement:.3f} with bfloat16 on the built-in texts ({LEAST} is "
        "the least), so it runs in the checkpoint's own precision"
    )
    derived = plan(checkpoint, machine, device=device, max_length=max_length, budget=budget)
    return LoadedModel(checkpoint, replace(derived, notes=(*derived.notes, note)), machine)


def _network(checkpoint: Checkpoint, plan: Plan, machine: Machine) -> Network:
    if plan.compiled:
        return native.load_network(checkpoint, plan.precision, machine.threads)
    from upsize.compute.pytorch import TorchNetwork

    weights = checkpoint.weights
    return TorchNetwork(checkpoint.config, weights.load, plan, machine.bfloat16_products, machine.threads)
