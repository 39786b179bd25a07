"""Where and how a checkpoint runs on this machine: device, precision, token budget, memory. Pure, given the machine."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from upsize.catalog import FP16_UNSAFE_HIDDEN_SIZE
from upsize.compute import native
from upsize.compute.machine import Gpu, Machine
from upsize.errors import CheckpointError, InvalidInput, MissingExtra, UpsizeError
from upsize.model import Checkpoint
from upsize.model.config import ModelConfig
from upsize.model.stored_tensor import DTYPES

PRECISIONS = {"float32": 4, "bfloat16": 2, "float16": 2}
"""Of floating numbers → bytes of one."""
INT8 = "int8"
"""Weights with a scale for each output, activations with one for some inputs; on the compiled kernels alone."""
FP8 = "fp8"
"""Weights with a scale for each output, activations with one for each row; on GPUs that multiply it (`Gpu.fp8`)."""
SYNONYMS = {"half": "float16", "fp16": "float16", "bf16": "bfloat16", "float": "float32", "fp32": "float32"}

MIN_LENGTH = 8
"""Tokens of a text that a model has to take: the instruction and the end token need some."""
CPU_BUDGET = 512
"""Tokens of a CPU batch. Products are as fast at 512 rows as at more, and a smaller batch keeps others waiting less."""
CUDA_BUDGET = 16384
"""Tokens of a GPU batch where memory allows: enough that launching its kernels takes less time than they do."""
PREFILL_CHUNK = {"cpu": 512, "cuda": 16384}
"""Rows that go through a layer at once."""
TOKENIZER_ENTRY_BYTES = 740
"""Bytes that the tokenizer holds for one entry of its vocabulary: measured, of 16,000 entries and of 152,000."""


@dataclass(frozen=True)
class ExecutionPlan:
    """What was derived for one checkpoint. `notes` is what the user must hear of it."""

    device: str
    precision: str
    max_length: int
    budget: int
    weight_bytes: int
    work_bytes: int
    """Activations at the larger of the budget and one text of the greatest length."""
    notes: tuple[str, ...] = field(default=())
    compiled: bool = False
    """Whether the compiled kernels carry it; otherwise torch does."""


def plan(
    checkpoint: Checkpoint,
    machine: Machine,
    *,
    device: str = "auto",
    dtype: str = "auto",
    max_length: int | None = None,
    budget: int | None = None,
) -> ExecutionPlan:
    """Derive what the user left open. Raises InvalidInput for what cannot be, UpsizeError where it cannot fit."""
    notes: list[str] = []
    if device == "auto":
        device = "cuda" if machine.gpus else "cpu"
    if not (form := re.fullmatch(r"cpu|cuda(?::(\d+))?", device)):
        raise InvalidInput(f"--device {device!r}: use auto, cpu, cuda or cuda:N.", param="device")
    kind, number = device.split(":")[0], int(form[1] or 0)
    if kind == "cuda" and number >= len(machine.gpus):
        if not machine.torch:
            raise MissingExtra(f"--device {device}", "torch", "torch")
        found = f"{len(machine.gpus)} CUDA devices" if machine.gpus else "no CUDA device"
        raise InvalidInput(f"--device {device}, but torch finds {found} here. Use cpu.", param="device")
    kernels = machine.kernels if native.supports_shape(checkpoint.config) else None
    lacking = _lacking(kernels, built=machine.kernels is not None)
    gpu = machine.gpus[number] if kind == "cuda" else None
    precision = _precision(checkpoint, gpu, dtype, lacking, notes)
    compiled = runs_on_kernels(kind, precision, kernels, machine.torch)
    if not compiled and not machine.torch:
        why = "bfloat16 and int8 do without" if kernels else f"the compiled kernels {lacking}"
        raise MissingExtra(f"{precision} on a CPU ({why})", "torch", "torch")
    longest = max_length or checkpoint.context
    if checkpoint.config.max_positions < MIN_LENGTH:
        path, found = checkpoint.folder / "config.json", str(checkpoint.config.max_positions)
        raise CheckpointError(path, f"max_position_embeddings of {MIN_LENGTH} tokens or more", found)
    if not MIN_LENGTH <= longest <= checkpoint.config.max_positions:
        raise InvalidInput(
            f"--context-length {longest}: this checkpoint takes {MIN_LENGTH} to {checkpoint.config.max_positions} "
            "tokens.",
            param="context_length",
        )
    weights = weight_bytes(checkpoint, precision)
    memory = gpu.memory if gpu else machine.available
    tokens = budget or (_cuda_budget(checkpoint.config, memory - weights) if gpu else CPU_BUDGET)
    work = work_bytes(checkpoint.config, max(tokens, longest), kind)
    if weights > memory:
        raise UpsizeError(
            f"{checkpoint.folder}: the weights take {weights / 1e9:.1f} GB in {precision} and {device} has "
            f"{memory / 1e9:.1f} GB. Serve a smaller size, or a smaller precision."
        )
    if weights + work > memory:
        notes.append(
            f"a text of {longest} tokens needs {(weights + work) / 1e9:.1f} GB with the weights and {device} has "
            f"{memory / 1e9:.1f} GB; a lower --context-length refuses such texts instead of running out of memory"
        )
    return ExecutionPlan(device, precision, longest, tokens, weights, work, tuple(notes), compiled)


def _cuda_budget(config: ModelConfig, room: int) -> int:
    """Tokens of a GPU batch: CUDA_BUDGET, halved until it fits into `room` bytes, and never less than a CPU's."""
    tokens = CUDA_BUDGET
    while tokens > CPU_BUDGET and work_bytes(config, tokens, "cuda") > room:
        tokens //= 2
    return tokens


def runs_on_kernels(device: str, precision: str, kernels: str | None, torch: bool) -> bool:
    """Whether the compiled kernels, at the level that the processor has, carry a precision. Below AVX-512 torch, where
    it is installed, does batches of bfloat16 faster."""
    if device != "cpu" or kernels is None:
        return False
    if precision == INT8:
        return kernels != "plain"
    return precision == "bfloat16" and (kernels.startswith("avx512") or not torch)


def _lacking(kernels: str | None, *, built: bool) -> str | None:
    """What keeps the compiled kernels from int8, in words; None where nothing does."""
    if kernels is None:
        return "do not take so large a shape" if built else "were not built when upsize was installed: no compiler"
    return "need AVX2" if kernels == "plain" else None


def weight_bytes(checkpoint: Checkpoint, precision: str) -> int:
    """Bytes of a checkpoint's weights in a precision."""
    config, stored = checkpoint.config, checkpoint.weights.tensors["embed_tokens.weight"]
    embedding = config.vocab_size * config.hidden_size
    itemsize = int(DTYPES[stored.dtype].itemsize)
    return bytes_of_weights(checkpoint.weights.parameters, embedding, precision, embedding_itemsize=itemsize)


def bytes_of_weights(parameters: int, embedding: int, precision: str, *, embedding_itemsize: int) -> int:
    """Bytes of `parameters` weights, of which `embedding` are the token embeddings.

    int8 and fp8 leave the token embeddings as the checkpoint stores them: `embedding_itemsize` bytes each.
    """
    if precision in (INT8, FP8):
        return parameters + embedding * (embedding_itemsize - 1)
    return parameters * PRECISIONS[precision]


def _precision(checkpoint: Checkpoint, gpu: Gpu | None, dtype: str, lacking: str | None, notes: list[str]) -> str:
    wanted = SYNONYMS.get(dtype, dtype)
    if wanted == FP8:
        if gpu is None:
            raise InvalidInput("--dtype fp8 is for GPUs; a CPU takes int8.", param="dtype")
        if gpu.fp8:
            return FP8
        wanted = "auto"
        notes.append(f"{gpu.name} does not multiply fp8, so it runs in the checkpoint's own precision")
    if wanted == INT8:
        if gpu is not None:
            raise InvalidInput(
                "--dtype int8 is for the CPU; a GPU takes bfloat16, and fp8 from Ada and Hopper on.", param="dtype"
            )
        if lacking is None:
            return INT8
        wanted = "auto"
        notes.append(f"int8 runs on compiled kernels, which {lacking}, so it runs in the checkpoint's own precision")
    if wanted == "auto":
        if checkpoint.config.dtype in ("bfloat16", "float32"):
            return checkpoint.config.dtype
        notes.append(f"config.json says {checkpoint.config.dtype}, which this family was not trained for; in bfloat16")
        return "bfloat16"
    if wanted not in PRECISIONS:
        raise InvalidInput(f"--dtype {dtype!r}: use auto, {', '.join(PRECISIONS)}, {INT8}, {FP8}.", param="dtype")
    if wanted == "float16" and checkpoint.config.hidden_size >= FP16_UNSAFE_HIDDEN_SIZE:
        notes.append("float16 gives NaN on ordinary texts at this size (8B), so it runs in bfloat16 instead")
        return "bfloat16"
    return wanted


def work_bytes(config: ModelConfig, tokens: int, device: str = "cpu") -> int:
    """Activations of `tokens` packed tokens: the residual stream, rotary tables, one layer's keys and values, a slab
    through the widest part of a layer, and on a CPU the mask of a slab against all keys, what is remembered of
    beginnings, and the tokenizer."""
    itemsize, chunk_rows, mask = (4, PREFILL_CHUNK["cpu"], 5) if device == "cpu" else (2, PREFILL_CHUNK["cuda"], 0)
    row = config.hidden_size * 4 + config.head_dim * 4 * 2 + 2 * config.kv_heads * config.head_dim * itemsize + 32
    if device != "cpu":
        row += config.hidden_size * itemsize  # what each row's last MLP has still to add
    widest = 3 * config.intermediate_size + 3 * config.heads * config.head_dim + 2 * config.hidden_size
    kept = native.max_prefix_cache_bytes(config) + config.vocab_size * TOKENIZER_ENTRY_BYTES if device == "cpu" else 0
    return tokens * row + min(chunk_rows, tokens) * (widest * itemsize + tokens * mask) + kept
