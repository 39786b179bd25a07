"""The execution plan: on which device, in which precision and with which token budget a checkpoint runs.

All functions are pure: they depend on the checkpoint and the machine only.
"""

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
"""Floating-point precision → bytes of a weight."""
INT8 = "int8"
"""One scale an output for weights, one a group of inputs for activations. Compiled kernels only."""
FP8 = "fp8"
"""One scale an output for weights, one a row for activations. GPUs with fp8 products only (`Gpu.fp8`)."""
SYNONYMS = {"half": "float16", "fp16": "float16", "bf16": "bfloat16", "float": "float32", "fp32": "float32"}

MIN_LENGTH = 8
"""Least context length in tokens: the instruction and the end token need some of them."""
CPU_BUDGET = 512
"""Tokens of a CPU batch. GEMMs are no faster with more rows, and a smaller batch delays other requests less."""
CUDA_BUDGET = 16384
"""Tokens of a GPU batch where memory allows: enough for its kernels to take longer than their launches."""
PREFILL_CHUNK = {"cpu": 512, "cuda": 16384}
"""Rows of a prefill chunk: they go through one layer at once."""
TOKENIZER_ENTRY_BYTES = 740
"""Bytes that the tokenizer holds for one vocabulary entry. Measured with vocabularies of 16,000 and 152,000 entries."""


@dataclass(frozen=True)
class ExecutionPlan:
    """How one checkpoint runs. `notes` are sentences that the user must see."""

    device: str
    precision: str
    max_length: int
    budget: int
    weight_bytes: int
    work_bytes: int
    """Bytes of activations for the token budget or one text of `max_length` tokens, whichever has more tokens."""
    notes: tuple[str, ...] = field(default=())
    compiled: bool = False
    """Whether the compiled kernels run it; otherwise torch does."""


def plan(
    checkpoint: Checkpoint,
    machine: Machine,
    *,
    device: str = "auto",
    dtype: str = "auto",
    max_length: int | None = None,
    budget: int | None = None,
) -> ExecutionPlan:
    """Derive what the user left open.

    Raises InvalidInput for an impossible option, CheckpointError for a context below MIN_LENGTH tokens, MissingExtra
    where torch is needed and missing, UpsizeError where the weights do not fit the memory.
    """
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
    obstacle = _kernel_obstacle(kernels, built=machine.kernels is not None)
    gpu = machine.gpus[number] if kind == "cuda" else None
    precision = _precision(checkpoint, gpu, dtype, obstacle, notes)
    compiled = runs_on_kernels(kind, precision, kernels, machine.torch)
    if not compiled and not machine.torch:
        why = "bfloat16 and int8 do without" if kernels else f"the compiled kernels {obstacle}"
        raise MissingExtra(f"{precision} on a CPU ({why})", "torch", "torch")
    longest = max_length or checkpoint.context
    if checkpoint.config.max_positions < MIN_LENGTH:
        path, found = checkpoint.folder / "config.json", str(checkpoint.config.max_positions)
        raise CheckpointError(path, f"max_position_embeddings of {MIN_LENGTH} tokens or more", found)
    if not MIN_LENGTH <= longest <= checkpoint.config.max_positions:
        raise InvalidInput(
            f"--context-length {longest}: this checkpoint supports {MIN_LENGTH} to {checkpoint.config.max_positions} "
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


def _cuda_budget(config: ModelConfig, available: int) -> int:
    """Tokens of a GPU batch: CUDA_BUDGET, halved until it fits `available` bytes, but at least CPU_BUDGET."""
    tokens = CUDA_BUDGET
    while tokens > CPU_BUDGET and work_bytes(config, tokens, "cuda") > available:
        tokens //= 2
    return tokens


def runs_on_kernels(device: str, precision: str, kernels: str | None, torch: bool) -> bool:
    """Whether the compiled kernels, at the level `kernels`, run a precision. Below AVX-512 an installed torch runs
    bfloat16 batches faster."""
    if device != "cpu" or kernels is None:
        return False
    if precision == INT8:
        return kernels != "plain"
    return precision == "bfloat16" and (kernels.startswith("avx512") or not torch)


def _kernel_obstacle(kernels: str | None, *, built: bool) -> str | None:
    """Why the compiled kernels cannot run int8, in words; None where they can."""
    if kernels is None:
        return "do not support so large a shape" if built else "were not built when upsize was installed: no compiler"
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


def _precision(checkpoint: Checkpoint, gpu: Gpu | None, dtype: str, obstacle: str | None, notes: list[str]) -> str:
    wanted = SYNONYMS.get(dtype, dtype)
    if wanted == FP8:
        if gpu is None:
            raise InvalidInput("--dtype fp8 is for GPUs; a CPU runs int8.", param="dtype")
        if gpu.fp8:
            return FP8
        wanted = "auto"
        notes.append(f"{gpu.name} has no fp8 products, so the model runs in the checkpoint's own precision")
    if wanted == INT8:
        if gpu is not None:
            raise InvalidInput(
                "--dtype int8 is for the CPU; a GPU runs bfloat16, and fp8 from Ada and Hopper on.", param="dtype"
            )
        if obstacle is None:
            return INT8
        wanted = "auto"
        notes.append(
            f"int8 runs on compiled kernels, which {obstacle}, so the model runs in the checkpoint's own precision"
        )
    if wanted == "auto":
        if checkpoint.config.dtype in ("bfloat16", "float32"):
            return checkpoint.config.dtype
        notes.append(
            f"config.json says {checkpoint.config.dtype}, in which this family was not trained; "
            "the model runs in bfloat16"
        )
        return "bfloat16"
    if wanted not in PRECISIONS:
        raise InvalidInput(f"--dtype {dtype!r}: use auto, {', '.join(PRECISIONS)}, {INT8}, {FP8}.", param="dtype")
    if wanted == "float16" and checkpoint.config.hidden_size >= FP16_UNSAFE_HIDDEN_SIZE:
        notes.append("float16 gives NaN on ordinary texts at this size (8B), so the model runs in bfloat16 instead")
        return "bfloat16"
    return wanted


def work_bytes(config: ModelConfig, tokens: int, device: str = "cpu") -> int:
    """Bytes of activations for `tokens` packed tokens: the residual stream, the rotary tables, one layer's keys and
    values, and one prefill chunk in the widest part of a layer. On a CPU also the chunk's attention mask, the prefix
    cache and the tokenizer."""
    itemsize, mask_bytes = (4, 5) if device == "cpu" else (2, 0)
    chunk_rows = min(PREFILL_CHUNK["cpu" if device == "cpu" else "cuda"], tokens)
    row = config.hidden_size * 4 + config.head_dim * 4 * 2 + 2 * config.kv_heads * config.head_dim * itemsize + 32
    if device != "cpu":
        row += config.hidden_size * itemsize  # the output of each row's last MLP, not yet added
    widest = 3 * config.intermediate_size + 3 * config.heads * config.head_dim + 2 * config.hidden_size
    activations = tokens * row + chunk_rows * (widest * itemsize + tokens * mask_bytes)
    if device != "cpu":
        return activations
    return activations + native.max_prefix_cache_bytes(config) + config.vocab_size * TOKENIZER_ENTRY_BYTES
