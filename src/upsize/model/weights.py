"""Tensors of a checkpoint: located, checked against the configuration, and read on demand.

Published embedders store `layers.0…`, rerankers `model.layers.0…`; both are read under the un-prefixed name.
"""

from __future__ import annotations

import json
import logging
import struct
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from upsize.errors import CheckpointError, UnsupportedModel
from upsize.model.config import ModelConfig, read_json
from upsize.model.digest import Digests, digests_of
from upsize.model.stored_tensor import DTYPES, Array, StoredTensor
from upsize.model.weight_file import AGAIN, SourceFile, diagnosis
from upsize.model.zeros import check_zeros

log = logging.getLogger(__name__)

SINGLE = "model.safetensors"
INDEX = "model.safetensors.index.json"


def layer_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return tensor name within a layer → shape (output, input)."""
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
    """Return name → shape of every tensor of the network, without a head."""
    shapes: dict[str, tuple[int, ...]] = {
        "embed_tokens.weight": (config.vocab_size, config.hidden_size),
        "norm.weight": (config.hidden_size,),
    }
    for layer in range(config.layers):
        shapes.update({f"layers.{layer}.{name}": shape for name, shape in layer_shapes(config).items()})
    return shapes


def head_shapes(config: ModelConfig) -> dict[str, tuple[int, ...]]:
    """Return name → shape of the heads that a reranker may have: all rows, or the difference of two."""
    return {"lm_head.weight": (config.vocab_size, config.hidden_size), "score.weight": (1, config.hidden_size)}


@dataclass(frozen=True)
class Weights:
    """The tensors of a checkpoint under their un-prefixed names. Nothing is read until `load`."""

    tensors: dict[str, StoredTensor]
    prefixed: bool

    def load(self, name: str) -> Array:
        """One tensor, in memory of its own: nothing that happens to the file afterwards reaches it.

        CheckpointError where the file is not as it was when the checkpoint was opened.
        """
        return self.tensors[name].load()

    def rows(self, name: str, rows: Sequence[int] | NDArray[np.integer]) -> NDArray[np.float32]:
        """Return some rows of a matrix (rows, inputs) in float32, and read only these. Errors as `load`."""
        return self.tensors[name].rows(rows)

    @property
    def bytes(self) -> int:
        """Bytes of the network's tensors on disk."""
        return sum(t.bytes for t in self.tensors.values())

    @property
    def parameters(self) -> int:
        """Number of parameters."""
        return sum(prod(t.shape) for t in self.tensors.values())

    @property
    def digest(self) -> str:
        """Digest of all bytes of all tensors; see `Digests`. Raises CheckpointError for a hole in a file."""
        return self._digests.whole

    @property
    def sampled_digest(self) -> str:
        """The digest of sampled bytes, which older versions used."""
        return self._digests.sampled

    @cached_property
    def _digests(self) -> Digests:
        digests = digests_of(self.tensors)
        check_zeros(self.tensors, digests.zeros)
        return digests


class StoredRows:
    """A matrix (rows, inputs) that reads only the requested rows, in float32."""

    def __init__(self, weights: Weights, name: str) -> None:
        self._weights, self._name = weights, name

    def __getitem__(self, rows: NDArray[np.integer]) -> NDArray[np.float32]:
        return self._weights.rows(self._name, rows)


@contextmanager
def opened(path: Path) -> Iterator[Any]:
    """Open a safetensors file. Raises CheckpointError if it is damaged."""
    try:
        with safe_open(path, framework="np") as file:
            yield file
    except FileNotFoundError:
        raise CheckpointError(path, "a safetensors file", "no such file", AGAIN) from None
    except SafetensorError as error:
        raise CheckpointError(path, *diagnosis(path, error), AGAIN) from error
    except OSError as error:
        raise CheckpointError(path, "a safetensors file that can be read", f"an error ({error})") from error


def find_weights(folder: Path, config: ModelConfig) -> Weights:
    """Locate and check every tensor of the checkpoint in `folder`, sharded or not. Raises CheckpointError."""
    tensors: dict[str, StoredTensor] = {}
    prefixed = False
    for path in _files(folder):
        source = SourceFile.at(path)
        with opened(path) as file:
            offsets = _offsets(path)
            for stored_name in file.keys():  # noqa: SIM118 (a safetensors file is no dictionary)
                part = file.get_slice(stored_name)
                name = stored_name.removeprefix("model.")
                if name in tensors:
                    raise CheckpointError(path, f"{name} once", f"it again, after {tensors[name].source.path.name}")
                prefixed |= name != stored_name
                shape, dtype = tuple(part.get_shape()), part.get_dtype()
                tensors[name] = StoredTensor(source, stored_name, shape, dtype, offsets[stored_name])
    _check(folder, config, tensors)
    return Weights(tensors, prefixed)


def _offsets(path: Path) -> dict[str, int]:
    """The offset of each tensor in a valid safetensors file: 8 bytes, a header, the values."""
    with path.open("rb") as file:
        (length,) = struct.unpack("<Q", file.read(8))
        header = json.loads(file.read(length))
    return {name: 8 + length + entry["data_offsets"][0] for name, entry in header.items() if name != "__metadata__"}


def _files(folder: Path) -> list[Path]:
    """The safetensors files: the single one if it exists, as in transformers, otherwise all that the index names."""
    single, index = folder / SINGLE, folder / INDEX
    if single.exists():
        if index.exists() and _shards(index) != {SINGLE}:
            log.warning(
                "%s is read, and the shards of %s are not, as transformers does. Remove those that are out of date",
                single,
                index.name,
            )
        return [single]
    if index.exists():
        files = [folder / name for name in sorted(_shards(index))]
        missing = [path.name for path in files if not path.exists()]
        if missing:
            raise CheckpointError(
                folder, f"{len(files)} shards", f"{', '.join(missing)} missing", "Download them again."
            )
        return files
    if single.is_symlink():
        raise CheckpointError(single, "a safetensors file", "a link to a file that is not there", AGAIN)
    other = sorted(p.name for p in folder.glob("*") if p.suffix in {".bin", ".pt", ".gguf", ".onnx", ".safetensors"})
    raise CheckpointError(
        folder,
        f"weights in {SINGLE}, or shards with {INDEX}",
        f"only {', '.join(other)}" if other else "no weights",
        _advice(other),
    )


def _shards(index: Path) -> set[str]:
    """Names of the shards in an index."""
    names = read_json(index, "the index of the shards").get("weight_map")
    if not isinstance(names, dict) or not names or not all(isinstance(name, str) for name in names.values()):
        raise CheckpointError(index, "a weight_map of tensor to shard", repr(names)[:80])
    outside = next((name for name in names.values() if not _is_file_name(name)), None)
    if outside is not None:
        raise CheckpointError(index, "names of files beside it", repr(outside)[:80])
    return set(names.values())


def _is_file_name(name: str) -> bool:
    """Whether the name is that of a file beside the index."""
    try:
        return Path(name).name == name and 0 < len(name.encode()) < 256 and "\0" not in name
    except UnicodeEncodeError:
        return False


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
                stored.source.path,
                f"{stored.stored_name} of shape {list(shape)}, by config.json",
                f"{list(stored.shape)}",
            )
    for name, stored in tensors.items():
        if name not in expected and name not in head:
            raise UnsupportedModel(
                stored.source.path, "the tensors of a Qwen3 network", f"{stored.stored_name} besides them"
            )
        if stored.dtype not in DTYPES:
            raise UnsupportedModel(
                stored.source.path,
                "weights in BF16, F16 or F32",
                f"{stored.stored_name} in {stored.dtype}",
                "Quantised checkpoints of other tools are not read; give the original one.",
            )
