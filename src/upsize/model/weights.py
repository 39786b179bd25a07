"""Tensors of a checkpoint: which file holds each, checked against the configuration, mapped from disk when asked for.

Published embedders store `layers.0…`, rerankers `model.layers.0…`; both are read under the un-prefixed name.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from ml_dtypes import bfloat16
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from upsize.errors import CheckpointError, UnsupportedModel
from upsize.model.config import ModelConfig, read_json

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"
DTYPES = {"F32": np.dtype(np.float32), "BF16": np.dtype(bfloat16), "F16": np.dtype(np.float16)}
"""What safetensors calls them → what they are."""
Array = NDArray[Any]


def layer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name within a layer → shape (output, input) of its tensors."""
    q, kv, hidden, inner = (
        config.heads * config.head_dim,
        config.kv_heads * config.head_dim,
        config.hidden_size,
        config.intermediate_size,
    )
    return {
        "input_layernorm.weight": (hidden,),
        "self_attn.q_proj.weight": (q, hidden),
        "self_attn.k_proj.weight": (kv, hidden),
        "self_attn.v_proj.weight": (kv, hidden),
        "self_attn.q_norm.weight": (config.head_dim,),
        "self_attn.k_norm.weight": (config.head_dim,),
        "self_attn.o_proj.weight": (hidden, q),
        "post_attention_layernorm.weight": (hidden,),
        "mlp.gate_proj.weight": (inner, hidden),
        "mlp.up_proj.weight": (inner, hidden),
        "mlp.down_proj.weight": (hidden, inner),
    }


def expected_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor of the network without its head."""
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (config.vocab_size, config.hidden_size),
        "norm.weight": (config.hidden_size,),
    }
    for layer in range(config.layers):
        shapes.update({f"layers.{layer}.{name}": shape for name, shape in layer_shapes(config).items()})
    return shapes


def head_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Name → shape of the heads that a reranker may have: all rows, or the difference of two."""
    return {"lm_head.weight": (config.vocab_size, config.hidden_size), "score.weight": (1, config.hidden_size)}


@dataclass(frozen=True)
class StoredTensor:
    """Where one tensor lies."""

    file: Path
    stored_name: str
    shape: tuple[int, ...]
    dtype: str
    """As safetensors writes it: `BF16`, `F16`, `F32`."""
    offset: int
    """Bytes before it in the file."""


@dataclass(frozen=True)
class Weights:
    """The tensors of a checkpoint under their un-prefixed names. Nothing is read until `load`."""

    tensors: dict[str, StoredTensor]
    prefixed: bool

    def load(self, name: str) -> Array:
        """Map one tensor from disk: no copy is made, and its pages go when the array does."""
        stored = self.tensors[name]
        try:
            return np.asarray(np.memmap(stored.file, DTYPES[stored.dtype], "c", stored.offset, stored.shape))
        except FileNotFoundError:
            raise _gone(stored.file) from None
        except ValueError as error:  # the file has become shorter
            raise CheckpointError(stored.file, *_diagnosis(stored.file, error), "Download it again.") from error

    def rows(self, name: str, rows: tuple[int, ...]) -> NDArray[np.float32]:
        """A few rows of a matrix, in float32; only their pages are read."""
        return self.load(name)[list(rows)].astype(np.float32)

    @property
    def bytes(self) -> int:
        """Size of the network's tensors on disk."""
        return sum(DTYPES[t.dtype].itemsize * prod(t.shape) for t in self.tensors.values())

    @property
    def parameters(self) -> int:
        """Numbers in all of them."""
        return sum(prod(t.shape) for t in self.tensors.values())

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits of names, shapes, types and up to 4 windows of 4 KiB of each tensor.

        Sampled, because hashing 16 GB takes a minute; training or merging changes every matrix, so samples tell.
        """
        total = hashlib.sha256()
        for name, stored in sorted(self.tensors.items()):
            total.update(f"{name} {stored.shape} {stored.dtype}".encode())
            flat = self.load(name).reshape(-1).view(np.uint8)
            for start in sorted({int(k * max(len(flat) - 4096, 0) / 3) for k in range(4)}):
                total.update(flat[start : start + 4096].data)
        return total.hexdigest()[:16]


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """A safetensors file; what is wrong with it becomes a CheckpointError."""
    try:
        with safe_open(path, framework="np") as file:
            yield file
    except FileNotFoundError:
        raise _gone(path) from None
    except SafetensorError as error:
        raise CheckpointError(path, *_diagnosis(path, error), "Download it again.") from error


def _gone(path: Path) -> CheckpointError:
    return CheckpointError(path, "a safetensors file", "no such file", "Download it again.")


def _diagnosis(path: Path, error: Exception) -> tuple[str, str]:
    """What a broken safetensors file should have been, and what it is."""
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(8)
        if head == b"version ":
            return "a safetensors file", "a git-lfs pointer to it ('git lfs pull' fetches the file itself)"
        if len(head) == 8 and (header := struct.unpack("<Q", head)[0]) < min(size, 100_000_000):
            try:
                entries = json.loads(file.read(header))
                end = max(v["data_offsets"][1] for k, v in entries.items() if k != "__metadata__")
                if 8 + header + end != size:
                    return (
                        f"{8 + header + end:,} bytes, as its header says",
                        f"{size:,} bytes (cut off or not complete)",
                    )
            except (ValueError, KeyError, TypeError):
                pass
    return "a safetensors file", f"{size:,} bytes that are none ({error})"


def find_weights(folder: Path, config: ModelConfig) -> Weights:
    """Locate and check every tensor of the checkpoint in `folder`, sharded or not."""
    tensors: dict[str, StoredTensor] = {}
    prefixed = False
    for path in _files(folder):
        with opened(path) as file:
            offsets = _offsets(path)
            for stored_name in file.keys():  # noqa: SIM118 (a safetensors file is no dictionary)
                part = file.get_slice(stored_name)
                name = stored_name.removeprefix("model.")
                if name in tensors:
                    raise CheckpointError(path, f"{name} once", f"it again, after {tensors[name].file.name}")
                prefixed |= name != stored_name
                shape, dtype = tuple(part.get_shape()), part.get_dtype()
                tensors[name] = StoredTensor(path, stored_name, shape, dtype, offsets[stored_name])
    _check(folder, config, tensors)
    return Weights(tensors, prefixed)


def _offsets(path: Path) -> dict[str, int]:
    """Where each tensor begins in a file that safetensors found to be in order: 8 bytes, a header, the values."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {name: 8 + length + entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}


def _files(folder: Path) -> list[Path]:
    """The safetensors files, of which every one that the index names must be there."""
    index = folder / INDEX
    if index.exists():
        names = read_json(index, "the index of the shards").get("weight_map")
        if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
            raise CheckpointError(index, "a weight_map of tensor to shard", repr(names)[:80])
        files = [folder / name for name in sorted(set(names.values()))]
        missing = [path.name for path in files if not path.exists()]
        if missing:
            raise CheckpointError(
                folder, f"{len(files)} shards", f"{', '.join(missing)} missing", "Download them again."
            )
        return files
    if (folder / SINGLE).exists():
        return [folder / SINGLE]
    other = sorted(p.name for p in folder.glob("*") if p.suffix in {".bin", ".pt", ".gguf", ".onnx", ".safetensors"})
    raise CheckpointError(
        folder,
        f"weights in {SINGLE}, or shards with {INDEX}",
        f"only {', '.join(other)}" if other else "no weights",
        _advice(other),
    )


def _advice(other: list[str]) -> str:
    if any(name.startswith("adapter_model") for name in other):
        return "This is a LoRA adapter: merge it into its base model (peft's merge_and_unload) and save that."
    return "GGUF, ONNX and pickled weights are not read." if other else "Is this the folder that holds config.json?"


def _check(folder: Path, config: ModelConfig, tensors: dict[str, StoredTensor]) -> None:
    expected = expected_shapes(config)
    missing = [name for name in expected if name not in tensors]
    if missing:
        more = f" and {len(missing) - 3} more" if len(missing) > 3 else ""
        raise CheckpointError(folder, f"{len(expected)} tensors", f"no {', '.join(missing[:3])}{more}")
    head = {name: shape for name, shape in head_shapes(config).items() if name in tensors}
    for name, shape in (expected | head).items():
        stored = tensors[name]
        if stored.shape != shape:
            raise CheckpointError(
                stored.file, f"{stored.stored_name} of shape {list(shape)}, by config.json", f"{list(stored.shape)}"
            )
    for name, stored in tensors.items():
        if name not in expected and name not in head:
            raise UnsupportedModel(stored.file, "the tensors of a Qwen3 network", f"{stored.stored_name} besides them")
        if stored.dtype not in DTYPES:
            raise UnsupportedModel(
                stored.file,
                "weights in BF16, F16 or F32",
                f"{stored.stored_name} in {stored.dtype}",
                "Quantised checkpoints of other tools are not read; give the original one.",
            )
