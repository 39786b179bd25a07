"""ModelConfig: the numbers of `config.json` that shape the network."""

from __future__ import annotations

import json
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upsize.errors import CheckpointError, UnsupportedModel

GREATEST = 1 << 40
"""Largest number in config.json. Chosen: far above every real one, and small enough to compute with."""
MOST_LAYERS = 1000
"""Most layers. Chosen: eight times the largest open models; tensor names of each layer are built first."""
LARGEST_FILE = 256 << 20
"""Most bytes of a file other than weights. Chosen: twenty times the family's tokenizer."""
ARCHITECTURES = ("Qwen3ForCausalLM", "Qwen3Model", "Qwen3ForSequenceClassification")


@dataclass(frozen=True)
class ModelConfig:
    """Shapes of a Qwen3 network (docs/sources.md §1)."""

    architecture: str
    hidden_size: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    max_positions: int
    norm_eps: float
    rope_theta: float
    tied: bool
    dtype: str
    """Stored type of the weights in config.json: `bfloat16`, `float16` or `float32`."""

    @property
    def numbers(self) -> str:
        """The network's numbers that the tensor shapes do not show; part of the fingerprint."""
        heads = f"{self.heads} heads of {self.head_dim}, {self.kv_heads} of keys"
        return f"{heads}, rope_theta {self.rope_theta!r}, rms_norm_eps {self.norm_eps!r}"


def parsed(text: bytes) -> Any:
    """Parse a JSON text. Raises ValueError, also for one that is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def is_there(path: Path) -> bool:
    """Whether the file exists, or is a link to a missing file: an incomplete download."""
    return os.path.lexists(path)


def read_file(path: Path, expected: str) -> bytes:
    """Read a small file. Raises CheckpointError, with what was `expected`, unless it is a file of up to 256 MiB."""
    try:
        found = path.stat()
        if not stat.S_ISREG(found.st_mode):
            raise CheckpointError(path, expected, "a folder" if stat.S_ISDIR(found.st_mode) else "no regular file")
        if found.st_size > LARGEST_FILE:
            raise CheckpointError(
                path, expected, f"a file of {found.st_size:,} bytes; at most {LARGEST_FILE:,} are read"
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise CheckpointError(path, expected, "no such file", "Download it again.") from None
    except OSError as error:
        raise CheckpointError(path, expected, f"an error ({error.strerror or error})") from error


def read_value(path: Path, expected: str) -> Any:
    """Read the JSON value in `path`. Raises CheckpointError with what was `expected`."""
    try:
        return parsed(read_file(path, expected))
    except ValueError as error:
        raise CheckpointError(path, expected, f"unreadable JSON ({error})") from error


def read_json(path: Path, expected: str) -> dict[str, Any]:
    """Read the JSON object in `path`. Raises CheckpointError with what was `expected`."""
    value = read_value(path, expected)
    if not isinstance(value, dict):
        raise CheckpointError(path, expected, f"a JSON {type(value).__name__}")
    return value


def read_config(folder: Path) -> ModelConfig:
    """Read `config.json` of transformers 4 or 5. Raises UnsupportedModel for another network."""
    path = folder / "config.json"
    raw = read_json(path, "the model's configuration")
    named = raw.get("architectures") or ["Qwen3ForCausalLM"]
    architecture = named[0] if isinstance(named, list) else named
    if raw.get("model_type") != "qwen3" or architecture not in ARCHITECTURES:
        found = f"model_type {raw.get('model_type')!r}, architecture {architecture!r}"
        raise UnsupportedModel(path, "a Qwen3 embedder or reranker (model_type 'qwen3')", found)
    rope = raw.get("rope_parameters") or {}
    if not isinstance(rope, dict):
        raise CheckpointError(path, "an object for 'rope_parameters'", repr(rope))
    scaling = raw.get("rope_scaling") or None
    if any(rope.get(name, "default") != "default" for name in ("rope_type", "type")) or any(
        isinstance(value, dict) for value in rope.values()
    ):
        scaling = rope
    for field, value, wanted in (
        ("rope_scaling", scaling, None),
        ("attention_bias", raw.get("attention_bias", False), False),
        ("hidden_act", raw.get("hidden_act", "silu"), "silu"),
        ("use_sliding_window", raw.get("use_sliding_window", False), False),
        ("quantization_config", raw.get("quantization_config") or raw.get("compression_config"), None),
        ("is_causal", raw.get("is_causal", True), True),
        ("use_bidirectional_attention", raw.get("use_bidirectional_attention") or False, False),
        ("partial_rotary_factor", rope.get("partial_rotary_factor", raw.get("partial_rotary_factor", 1.0)), 1.0),
    ):
        if value != wanted:
            raise UnsupportedModel(path, f"{field} {wanted!r}, as the whole family has", repr(value)[:200])

    def number(name: str, cast: type = int, default: Any = None) -> Any:
        value = rope.get(name, raw.get(name, default))
        wrong = isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= GREATEST
        if wrong or cast(value) != value:
            raise CheckpointError(path, f"a positive number for {name!r}", repr(value)[:80])
        return cast(value)

    hidden, heads = number("hidden_size"), number("num_attention_heads")
    config = ModelConfig(
        architecture=architecture,
        hidden_size=hidden,
        layers=number("num_hidden_layers"),
        heads=heads,
        kv_heads=number("num_key_value_heads", default=heads),
        head_dim=number("head_dim", default=max(hidden // heads, 1)),
        intermediate_size=number("intermediate_size"),
        vocab_size=number("vocab_size"),
        max_positions=number("max_position_embeddings"),
        norm_eps=number("rms_norm_eps", float, 1e-6),
        rope_theta=number("rope_theta", float),
        tied=bool(raw.get("tie_word_embeddings", False)),
        dtype=str(raw.get("dtype") or raw.get("torch_dtype") or "bfloat16"),
    )
    if not isinstance(raw.get("tie_word_embeddings", False), bool):
        raise CheckpointError(path, "true or false for 'tie_word_embeddings'", repr(raw["tie_word_embeddings"])[:80])
    if config.layers > MOST_LAYERS:
        raise CheckpointError(path, f"at most {MOST_LAYERS:,} layers (num_hidden_layers)", f"{config.layers:,}")
    layer_types = raw.get("layer_types")
    if layer_types is not None and layer_types != ["full_attention"] * config.layers:
        raise UnsupportedModel(
            path,
            f"layer_types of {config.layers} times 'full_attention', as the whole family has",
            repr(layer_types)[:200],
        )
    if config.head_dim % 2:
        raise CheckpointError(path, "an even head_dim, whose halves rotate", str(config.head_dim))
    if config.heads % config.kv_heads:
        raise CheckpointError(
            path, "num_attention_heads a multiple of num_key_value_heads", f"{config.heads} and {config.kv_heads}"
        )
    return config
