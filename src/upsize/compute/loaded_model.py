"""LoadedModel: a checkpoint on a device, ready to run packed batches."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import replace
from functools import cached_property
from itertools import accumulate
from os import PathLike

import numpy as np

from upsize.catalog import Kind
from upsize.compute import native
from upsize.compute.machine import Machine, this_machine
from upsize.compute.network import Network
from upsize.compute.plan import FP8, INT8, ExecutionPlan, plan
from upsize.compute.quantization_fidelity import (
    MIN_FIDELITY,
    centred_cosine,
    hidden_states,
    require_usable,
    store_fidelity,
    stored_fidelity,
)
from upsize.errors import OutOfMemory
from upsize.fingerprint import Fingerprint
from upsize.model import Checkpoint, HubOptions, locate, open_checkpoint, rerank_score_weight
from upsize.model.pooling import Vectors
from upsize.model.tokenizer import Ids
from upsize.model.weights import StoredRows

QUANTIZATIONS = {INT8: native.QUANTIZATION, FP8: "e4m3, weights by output, activations by row"}
"""Precision → how it quantises: part of the fingerprint. Loading a model checks the fidelity of each."""


class LoadedModel:
    """A checkpoint's network and head on the device and in the precision of a plan."""

    def __init__(self, checkpoint: Checkpoint, plan: ExecutionPlan, machine: Machine | None = None) -> None:
        self.checkpoint, self.plan = checkpoint, plan
        quantization = QUANTIZATIONS.get(plan.precision, "none")
        self.fingerprint = checkpoint.fingerprint(plan.precision, plan.max_length, quantization)
        machine = machine or this_machine()
        self.threads = machine.threads if plan.device == "cpu" else 1
        self._network, self.quantization_fidelity = _checked(checkpoint, plan, machine)
        """Centred cosine with bfloat16 on the worst built-in text; None where the network is not quantised."""
        self.compute_dtype = self._network.compute_dtype
        self._score_weight = rerank_score_weight(checkpoint) if checkpoint.kind == "reranker" else None

    @cached_property
    def sampled_fingerprint(self) -> Fingerprint:
        """The fingerprint that earlier versions gave; see `Checkpoint.sampled_fingerprint`."""
        quantization = QUANTIZATIONS.get(self.plan.precision, "none")
        return self.checkpoint.sampled_fingerprint(self.plan.precision, self.plan.max_length, quantization)

    def spare_a_core(self, spare: bool) -> None:
        """Leave one core to other threads from now on, or use all. It has an effect with compiled kernels only."""
        self._network.use_threads(self.threads - 1 if spare else self.threads)

    def run(self, sequences: Sequence[Ids]) -> Generator[bool, None, Vectors]:
        """Run one packed batch.

        The generator yields False at each yield point and True when all work is launched (a GPU may still be
        computing). Its value is float32 on the host: last hidden states (sequences, hidden) of an embedder, log-odds
        (sequences,) of a reranker.

        Raises OutOfMemory where the device's memory does not suffice.
        """
        tokens, cu = sum(map(len, sequences)), [0, *accumulate(map(len, sequences))]
        try:
            hidden_states = yield from self._network.forward(np.concatenate(sequences), cu)
        except MemoryError as error:
            raise OutOfMemory(tokens, self.plan.device) from error
        return hidden_states if self._score_weight is None else hidden_states @ self._score_weight


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
    """Load a model by the name that a user gives: a folder, a hub id or a demo name.

    A quantised precision whose fidelity is below MIN_FIDELITY falls back to the checkpoint's own, with a note.

    Raises CheckpointError, HubError, InvalidInput (device, dtype, max_length) or UpsizeError (does not fit).
    """
    checkpoint = open_checkpoint(locate(model, hub), kind)
    machine = this_machine()
    derived = plan(checkpoint, machine, device=device, dtype=dtype, max_length=max_length, budget=budget)
    loaded = LoadedModel(checkpoint, derived, machine)
    if loaded.quantization_fidelity is None or loaded.quantization_fidelity >= MIN_FIDELITY:
        return loaded
    note = (
        f"{derived.precision} reaches a centred cosine of only {loaded.quantization_fidelity:.3f} with bfloat16 on the "
        f"built-in texts (at least {MIN_FIDELITY} is required), so the model runs in the checkpoint's own precision"
    )
    derived = plan(checkpoint, machine, device=device, max_length=max_length, budget=budget)
    return LoadedModel(checkpoint, replace(derived, notes=(*derived.notes, note)), machine)


def _checked(checkpoint: Checkpoint, plan: ExecutionPlan, machine: Machine) -> tuple[Network, float | None]:
    """The network, and its quantisation fidelity: read from disk, or computed now and stored."""
    if plan.precision not in QUANTIZATIONS:
        return _network(checkpoint, plan, machine), None
    quantization = plan.precision, QUANTIZATIONS[plan.precision]
    if (fidelity := stored_fidelity(checkpoint, *quantization)) is not None:
        return _network(checkpoint, plan, machine), fidelity
    # The reference network is freed before the quantised one is loaded.
    reference = hidden_states(checkpoint, _reference(checkpoint, plan, machine))
    require_usable(checkpoint, reference, "bfloat16")
    network = _network(checkpoint, plan, machine)
    fidelity = centred_cosine(hidden_states(checkpoint, network), reference)
    store_fidelity(checkpoint, *quantization, fidelity)
    return network, fidelity


def _reference(checkpoint: Checkpoint, plan: ExecutionPlan, machine: Machine) -> Network:
    """The network in bfloat16 on the same device. Compiled kernels hold one layer of it at a time."""
    if not plan.compiled:
        return _network(checkpoint, replace(plan, precision="bfloat16"), machine)
    config, load = checkpoint.config, checkpoint.weights.load
    layers = native.LayerAtATime(config, load, "bfloat16")
    vectors = StoredRows(checkpoint.weights, "embed_tokens.weight")
    return native.NativeQwen3(config, layers, vectors, "bfloat16", machine.threads, prefix_cache_bytes=0)


def _network(checkpoint: Checkpoint, plan: ExecutionPlan, machine: Machine) -> Network:
    if plan.compiled:
        return native.load_network(checkpoint, plan.precision, machine.threads)
    from upsize.compute.pytorch import TorchNetwork

    weights = checkpoint.weights
    return TorchNetwork(checkpoint.config, weights.load, plan, machine.bfloat16_products, machine.threads)
