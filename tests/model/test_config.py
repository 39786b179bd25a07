"""config.json: both spellings are read, and what the network is not is refused with the reason."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.checkpoints import Layout, config_of, write_json
from upsize.errors import CheckpointError, UnsupportedModel
from upsize.model.config import ModelConfig, read_config


def read(folder: Path, **changes: Any) -> ModelConfig:
    config = config_of(Layout()) | changes
    write_json(folder / "config.json", {k: v for k, v in config.items() if v != "absent"})
    return read_config(folder)


def test_transformers_4_and_5_say_the_same(tmp_path: Path) -> None:
    write_json(tmp_path / "config.json", config_of(Layout(transformers_5=True)))
    assert read_config(tmp_path) == read(tmp_path)


def test_the_numbers_are_those_of_the_file(tmp_path: Path) -> None:
    config = read(tmp_path)
    assert (config.hidden_size, config.layers, config.heads, config.kv_heads, config.head_dim) == (64, 3, 4, 2, 24)
    assert (config.rope_theta, config.norm_eps, config.dtype, config.tied) == (1e6, 1e-6, "float32", True)


def test_what_older_files_leave_out_has_its_usual_value(tmp_path: Path) -> None:
    absent = dict.fromkeys(("head_dim", "num_key_value_heads", "torch_dtype", "tie_word_embeddings"), "absent")
    config = read(tmp_path, **absent)
    assert (config.head_dim, config.kv_heads, config.dtype, config.tied) == (16, 4, "bfloat16", False)


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"model_type": "bert", "architectures": ["BertModel"]}, "model_type 'bert', architecture 'BertModel'"),
        ({"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"]}, "model_type 'qwen2'"),
        ({"architectures": ["Qwen3MoeForCausalLM"]}, "architecture 'Qwen3MoeForCausalLM'"),
        ({"rope_scaling": {"rope_type": "yarn", "factor": 4.0}}, "expected rope_scaling None.*yarn"),
        ({"rope_parameters": {"rope_type": "yarn", "rope_theta": 1e6}}, "expected rope_scaling None.*yarn"),
        ({"rope_parameters": {"type": "yarn", "rope_theta": 1e6}}, "expected rope_scaling None.*yarn"),
        ({"rope_parameters": {"full_attention": {"rope_theta": 1e4}}}, "expected rope_scaling None.*full_attention"),
        ({"layer_types": ["full_attention"] * 2}, "layer_types of 3 times 'full_attention'"),
        ({"layer_types": [["full_attention"], 1]}, "layer_types of 3 times 'full_attention'"),
        ({"quantization_config": {"quant_method": "gptq"}}, "expected quantization_config None"),
        ({"compression_config": {"format": "int"}}, "expected quantization_config None"),
        ({"attention_bias": True}, "expected attention_bias False, as the whole family has; found True"),
        ({"hidden_act": "gelu"}, "expected hidden_act 'silu', as the whole family has; found 'gelu'"),
        ({"use_sliding_window": True}, "expected use_sliding_window False"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "layer_types.*found.*sliding_attention"),
        ({"is_causal": False}, "expected is_causal True"),
        ({"use_bidirectional_attention": True}, "expected use_bidirectional_attention False"),
        ({"partial_rotary_factor": 0.5}, "expected partial_rotary_factor 1.0"),
    ],
)
def test_what_this_network_is_not_is_refused(tmp_path: Path, changes: dict[str, Any], finding: str) -> None:
    with pytest.raises(UnsupportedModel, match=finding) as caught:
        read(tmp_path, **changes)
    assert caught.value.path == tmp_path / "config.json"


@pytest.mark.parametrize(
    ("changes", "finding"),
    [
        ({"hidden_size": "64"}, "a positive number for 'hidden_size'; found '64'"),
        ({"num_hidden_layers": 0}, "a positive number for 'num_hidden_layers'; found 0"),
        ({"vocab_size": "absent"}, "a positive number for 'vocab_size'; found None"),
        ({"rope_theta": True}, "a positive number for 'rope_theta'; found True"),
        ({"num_key_value_heads": 3}, "a multiple of num_key_value_heads; found 4 and 3"),
        ({"hidden_size": 64.5}, "a positive number for 'hidden_size'; found 64.5"),
        ({"rope_parameters": [1e6]}, "rope_parameters"),
        ({"rope_parameters": {"rope_theta": "1e6"}}, "rope_theta"),
        ({"head_dim": 25}, "head_dim"),
        ({"tie_word_embeddings": "false"}, "true or false for 'tie_word_embeddings'; found 'false'"),
    ],
)
def test_a_wrong_value_is_named(tmp_path: Path, changes: dict[str, Any], finding: str) -> None:
    with pytest.raises(CheckpointError, match=finding):
        read(tmp_path, **changes)


@pytest.mark.parametrize(
    ("content", "finding"),
    [
        (None, "expected the model's configuration; found no such file"),
        (b'{"model_type": "qwen3",', "unreadable JSON"),
        (b"\xff\x00", "unreadable JSON"),
        (b"[]", "a JSON list"),
    ],
)
def test_a_file_that_is_no_json_object(tmp_path: Path, content: bytes | None, finding: str) -> None:
    if content is not None:
        (tmp_path / "config.json").write_bytes(content)
    with pytest.raises(CheckpointError, match=finding) as caught:
        read_config(tmp_path)
    assert str(tmp_path / "config.json") in str(caught.value)
