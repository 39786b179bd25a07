"""ModelConfig: the numbers of `config.json` that shape the network."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from upsize.errors import CheckpointError, UnsupportedModel

GREATEST = 1 << 40
"""Of any number in config.json: far beyond every real one, and small enough to compute with."""
MOST_LAYERS = 1000
"""Eight times those of the largest open models. Names of tensors are made for each layer before any file is read."""
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
    """What the weights are stored in, as config.json says: `bfloat16`, `float16` or `float32`."""

    @property
    def numbers(self) -> str:
        """What the network computes with and the shapes of its tensors do not tell; part of a fingerprint."""
        heads = f"{self.heads} heads of {self.head_dim}, {self.kv_heads} of keys"
        return f"{heads}, rope_theta {self.rope_theta!r}, rms_norm_eps {self.norm_eps!r}"


def parsed(text: bytes) -> Any:
    """The value of a JSON text; ValueError for anything else, such as one nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("nested too deeply") from None


def read_value(path: Path, expected: str) -> Any:
    """The JSON value in `path`; CheckpointError says what was `expected` of it."""
    try:
        return parsed(path.read_bytes())
    except FileNotFoundError:
        raise CheckpointError(path, expected, "no such file") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(path, expected, f"unreadable JSON ({error})") from error


def read_json(path: Path, expected: str) -> dict[str, Any]:
    """The JSON object in `path`; CheckpointError says what was `expected` of it."""
    value = read_value(path, expected)
    if not isinstance(value, dict):
        raise CheckpointError(path, expected, f"a JSON {type(value).__name__}")
    return value


def read_config(folder: Path) -> ModelConfig:
    """Read `config.json`, of transformers 4 or 5, and refuse what this network is not."""
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
    scaling = raw.get("rope_scaling") or (rope if rope.get("rope_type", "default") != "default" else None)
    layer_types = raw.get("layer_types")
    for field, value, wanted in (
        ("rope_scaling", scaling, None),
        ("attention_bias", raw.get("attention_bias", False), False),
        ("hidden_act", raw.get("hidden_act", "silu"), "silu"),
        ("use_sliding_window", raw.get("use_sliding_window", False), False),
        ("layer_types", sorted(set(layer_types)) if layer_types else ["full_attention"], ["full_attention"]),
        ("is_causal", raw.get("is_causal", True), True),
        ("use_bidirectional_attention", raw.get("use_bidirectional_attention") or False, False),
        ("partial_rotary_factor", rope.get("partial_rotary_factor", raw.get("partial_rotary_factor", 1.0)), 1.0),
    ):
        if value != wanted:
            raise UnsupportedModel(path, f"{field} {wanted!r}, as the whole family has", repr(value))

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
    if config.layers > MOST_LAYERS:
        raise CheckpointError(path, f"at most {MOST_LAYERS:,} layers (num_hidden_layers)", f"{config.layers:,}")
    if config.head_dim % 2:
        raise CheckpointError(path, "an even head_dim, whose halves rotate", str(config.head_dim))
    if config.heads % config.kv_heads:
        raise CheckpointError(
            path, "num_attention_heads a multiple of num_key_value_heads", f"{config.heads} and {config.kv_heads}"
        )
    return config
