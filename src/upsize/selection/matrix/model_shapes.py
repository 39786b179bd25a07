"""A checkpoint of a published shape with random weights: as fast and as large as the real one, and worth nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from math import prod
from pathlib import Path

from safetensors.numpy import save_file

from upsize import demo
from upsize.diagnostics.random_models import random_weights
from upsize.model.config import ModelConfig
from upsize.model.weights import expected_shapes, layer_shapes

_TOKENIZER = "demo-s"
"""Whose tokenizer lies beside the weights: a folder must have one, and ids alone are run."""


def write_random(config: ModelConfig, layers: int, folder: Path) -> Path:
    """Write `layers` layers of the shape `config` in bfloat16, a shard a layer; the folder, which is made.

    The values are one normal block, repeated: no layer shares memory with another, and speed depends on no value.
    """
    folder.mkdir(parents=True)
    c = replace(config, layers=layers)
    weight_map: dict[str, str] = {}
    for shard, tensors in enumerate(_shards(c)):
        name = f"model-{shard + 1:05d}-of-{layers + 1:05d}.safetensors"
        save_file({k: random_weights(shape) for k, shape in tensors.items()}, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    _write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    shutil.copy(demo.folder(_TOKENIZER) / "tokenizer.json", folder)
    values = {
        "architectures": [c.architecture],
        "model_type": "qwen3",
        "hidden_size": c.hidden_size,
        "num_hidden_layers": c.layers,
        "num_attention_heads": c.heads,
        "num_key_value_heads": c.kv_heads,
        "head_dim": c.head_dim,
        "intermediate_size": c.intermediate_size,
        "vocab_size": c.vocab_size,
        "max_position_embeddings": c.max_positions,
        "rms_norm_eps": c.norm_eps,
        "rope_theta": c.rope_theta,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": c.tied,
        "torch_dtype": "bfloat16",
    }
    _write(folder / "config.json", values)
    return folder


def layer_parameters(c: ModelConfig) -> int:
    """Of one layer."""
    return sum(map(prod, layer_shapes(c).values()))


def parameters(c: ModelConfig) -> int:
    """Of the whole embedder."""
    return sum(map(prod, expected_shapes(c).values()))


def _shards(c: ModelConfig) -> list[dict[str, tuple[int, ...]]]:
    """The ends, then each layer."""
    shapes = expected_shapes(c)
    starts = ("", *(f"layers.{index}." for index in range(c.layers)))
    return [
        {n: s for n, s in shapes.items() if (n.startswith(start) if start else "layers." not in n)} for start in starts
    ]


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
