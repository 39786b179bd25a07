"""A checkpoint of a published shape with random weights: as fast and as large as the real one, and worth nothing."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save_file

from upsize import demo
from upsize.model.config import ModelConfig

_BLOCK = 1 << 22
_TOKENIZER = "demo-s"
"""Whose tokenizer lies beside the weights: a folder must have one, and ids alone are run."""


def write_random(config: ModelConfig, layers: int, folder: Path) -> Path:
    """Write `layers` layers of the shape `config` in bfloat16, a shard a layer; the folder, which is made.

    The values are one normal block, repeated: no layer shares memory with another, and speed depends on no value.
    """
    folder.mkdir(parents=True)
    c = replace(config, layers=layers)
    block = (torch.randn(_BLOCK, generator=torch.Generator().manual_seed(0)) * 0.02).bfloat16()
    weight_map: dict[str, str] = {}
    for shard, tensors in enumerate(_shards(c)):
        name = f"model-{shard + 1:05d}-of-{layers + 1:05d}.safetensors"
        save_file({k: _filled(shape, block) for k, shape in tensors.items()}, folder / name, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(tensors, name)
    _write(folder / "model.safetensors.index.json", {"metadata": {}, "weight_map": weight_map})
    shutil.copy(demo.folder(_TOKENIZER) / "tokenizer.json", folder)
    told = {
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
    _write(folder / "config.json", told)
    return folder


def layer_parameters(c: ModelConfig) -> int:
    """Of one layer."""
    return sum(_size(shape) for shape in _layer(c, 0).values())


def parameters(c: ModelConfig) -> int:
    """Of the whole embedder."""
    return c.layers * layer_parameters(c) + c.vocab_size * c.hidden_size + c.hidden_size


def _shards(c: ModelConfig) -> list[dict[str, tuple[int, ...]]]:
    ends = {"embed_tokens.weight": (c.vocab_size, c.hidden_size), "norm.weight": (c.hidden_size,)}
    return [ends, *(_layer(c, index) for index in range(c.layers))]


def _layer(c: ModelConfig, index: int) -> dict[str, tuple[int, ...]]:
    inner, keys = c.heads * c.head_dim, c.kv_heads * c.head_dim
    shapes: dict[str, tuple[int, ...]] = {
        "self_attn.q_proj": (inner, c.hidden_size),
        "self_attn.k_proj": (keys, c.hidden_size),
        "self_attn.v_proj": (keys, c.hidden_size),
        "self_attn.o_proj": (c.hidden_size, inner),
        "self_attn.q_norm": (c.head_dim,),
        "self_attn.k_norm": (c.head_dim,),
        "mlp.gate_proj": (c.intermediate_size, c.hidden_size),
        "mlp.up_proj": (c.intermediate_size, c.hidden_size),
        "mlp.down_proj": (c.hidden_size, c.intermediate_size),
        "input_layernorm": (c.hidden_size,),
        "post_attention_layernorm": (c.hidden_size,),
    }
    return {f"layers.{index}.{name}.weight": shape for name, shape in shapes.items()}


def _filled(shape: tuple[int, ...], block: torch.Tensor) -> torch.Tensor:
    if len(shape) == 1:
        return torch.ones(shape, dtype=torch.bfloat16)
    size = _size(shape)
    return block.repeat(-(-size // len(block)))[:size].reshape(shape).contiguous()


def _size(shape: tuple[int, ...]) -> int:
    return shape[0] * (shape[1] if len(shape) > 1 else 1)


def _write(path: Path, value: object) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
