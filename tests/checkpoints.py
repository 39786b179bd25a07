"""Tiny random checkpoints in every layout that the published models and their conversions come in.

`Layout` says how the files look, never what the numbers are: layouts of one seed and kind hold the same network, so
tests can ask that they give the same vectors. The values are rounded to bfloat16 before they are stored in either
precision.

    folder = write_checkpoint(tmp_path / "sharded", Layout(kind="reranker", sharded=True))
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal

import torch
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

from upsize.catalog.instructions import QUERY_FORM, RERANK_BODY, RERANK_PREFIX, RERANK_SUFFIX, WEB_SEARCH

END, START, STOP = "<|endoftext|>", "<|im_start|>", "<|im_end|>"
SPLIT = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""Qwen2's, as published."""

SENTENCES = (
    "The capital of China is Beijing.",
    "Gravity is a force that attracts two bodies towards each other, and the planets around the sun.",
    "How do plants turn light into sugar? They call it photosynthesis.",
    "A recipe for soup: onions, carrots, salt and an hour of patience.",
    "The train from Bern to Geneva leaves every thirty minutes, even on Sundays.",
    "def add(a, b):\n    return a + b",
    "Der Zug nach Genf fährt alle dreißig Minuten.",
    "中国的首都是北京。",
    "東京は日本の首都です。",
    "Москва является столицей России.",
)
"""Texts to train the tokenizer on, and to embed."""


@dataclass(frozen=True)
class Layout:
    """How a checkpoint's files look. The defaults are Qwen3-Embedding-0.6B's."""

    kind: Literal["embedding", "reranker"] = "embedding"
    sharded: bool = False
    prefixed: bool | None = None
    """Names begin with `model.`; None: as published, rerankers' do."""
    tied: bool = True
    """False: config.json says so, and a reranker stores its lm_head."""
    score_head: bool = False
    """A sequence-classification conversion: score.weight = W[yes] − W[no] of the reranker of the same seed."""
    sentence_transformers: bool = True
    """With modules.json, 1_Pooling and the prompts beside it (embedders alone have them)."""
    end_rule: bool | None = None
    """The tokenizer appends the end token; None: as published, embedders' does."""
    dtype: Literal["bfloat16", "float32", "float16"] = "float32"
    transformers_5: bool = False
    """config.json with rope_parameters and dtype, as transformers 5 writes it."""
    seed: int = 0
    hidden_size: int = 64
    layers: int = 3
    heads: int = 4
    kv_heads: int = 2
    head_dim: int = 24
    intermediate_size: int = 96
    max_positions: int = 1024
    padded_vocabulary: int | None = None
    """Rows of the embedding, where that is more than the tokenizer has ids (151936: a chat model's)."""

    @property
    def vocabulary(self) -> int:
        """Rows of the embedding matrix."""
        return self.padded_vocabulary or base_tokenizer().get_vocab_size()


EMBEDDER = Layout()
RERANKER = Layout(kind="reranker")


@cache
def base_tokenizer() -> Tokenizer:
    """Byte-level BPE with Qwen2's split and NFC, 640 tokens, "yes" and "no" among them. Treat it as read-only."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    split = pre_tokenizers.Split(Regex(SPLIT), "isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    forms = (QUERY_FORM.format(instruction=WEB_SEARCH), RERANK_PREFIX, RERANK_BODY, RERANK_SUFFIX, "yes", "no")
    trainer = trainers.BpeTrainer(
        vocab_size=635, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator([*SENTENCES * 2, *forms * 20], trainer)
    tokenizer.add_special_tokens([AddedToken(token, normalized=False, special=True) for token in (END, START, STOP)])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in ("<think>", "</think>")])
    return tokenizer


def tokenizer_of(layout: Layout) -> Tokenizer:
    """The base tokenizer with the post-processor that the layout's kind is published with."""
    tokenizer = Tokenizer.from_str(base_tokenizer().to_str())
    byte_level = processors.ByteLevel(trim_offsets=False)
    appends = layout.kind == "embedding" if layout.end_rule is None else layout.end_rule
    if appends:
        template = processors.TemplateProcessing(
            single=f"$A {END}", pair=f"$A $B {END}", special_tokens=[(END, tokenizer.token_to_id(END))]
        )
        tokenizer.post_processor = processors.Sequence([byte_level, template])
    else:
        tokenizer.post_processor = byte_level
    return tokenizer


def network(layout: Layout) -> dict[str, torch.Tensor]:
    """Un-prefixed name → float32 tensor with bfloat16 values; loud enough that any mistake shows in the vectors."""
    generator = torch.Generator().manual_seed(layout.seed)

    def matrix(outputs: int, inputs: int) -> torch.Tensor:
        drawn: torch.Tensor = torch.randn(outputs, inputs, generator=generator) / inputs**0.5
        return drawn.bfloat16().float()

    def norm(size: int) -> torch.Tensor:
        return (1 + 0.1 * torch.randn(size, generator=generator)).bfloat16().float()

    hidden, inner, dim = layout.hidden_size, layout.intermediate_size, layout.head_dim
    tensors = {"embed_tokens.weight": matrix(layout.vocabulary, hidden), "norm.weight": norm(hidden)}
    for i in range(layout.layers):
        name = f"layers.{i}."
        tensors |= {
            f"{name}input_layernorm.weight": norm(hidden),
            f"{name}self_attn.q_proj.weight": matrix(layout.heads * dim, hidden),
            f"{name}self_attn.k_proj.weight": matrix(layout.kv_heads * dim, hidden),
            f"{name}self_attn.v_proj.weight": matrix(layout.kv_heads * dim, hidden),
            f"{name}self_attn.q_norm.weight": norm(dim),
            f"{name}self_attn.k_norm.weight": norm(dim),
            f"{name}self_attn.o_proj.weight": matrix(hidden, layout.heads * dim),
            f"{name}post_attention_layernorm.weight": norm(hidden),
            f"{name}mlp.gate_proj.weight": matrix(inner, hidden),
            f"{name}mlp.up_proj.weight": matrix(inner, hidden),
            f"{name}mlp.down_proj.weight": matrix(hidden, inner),
        }
    return tensors


def _head(layout: Layout, tensors: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The stored head of a reranker: none where it is tied, or all of it, or the difference of its two rows."""
    if layout.kind == "embedding":
        return {}
    head = tensors["embed_tokens.weight"]
    if not layout.tied:
        generator = torch.Generator().manual_seed(layout.seed + 1)
        head = (torch.randn(head.shape, generator=generator) / 8).bfloat16().float()
    if layout.score_head:
        yes, no = (base_tokenizer().token_to_id(word) for word in ("yes", "no"))
        return {"score.weight": (head[yes] - head[no])[None]}
    return {} if layout.tied else {"lm_head.weight": head.clone()}


def config_of(layout: Layout) -> dict[str, Any]:
    """What config.json says."""
    config: dict[str, Any] = {
        "architectures": ["Qwen3ForSequenceClassification" if layout.score_head else "Qwen3ForCausalLM"],
        "model_type": "qwen3",
        "hidden_size": layout.hidden_size,
        "num_hidden_layers": layout.layers,
        "num_attention_heads": layout.heads,
        "num_key_value_heads": layout.kv_heads,
        "head_dim": layout.head_dim,
        "intermediate_size": layout.intermediate_size,
        "vocab_size": layout.vocabulary,
        "max_position_embeddings": layout.max_positions,
        "rms_norm_eps": 1e-6,
        "hidden_act": "silu",
        "attention_bias": False,
        "tie_word_embeddings": layout.tied,
        "bos_token_id": base_tokenizer().token_to_id(END),
        "eos_token_id": base_tokenizer().token_to_id(STOP if layout.kind == "reranker" else END),
    }
    if layout.score_head:
        config |= {"num_labels": 1, "id2label": {"0": "LABEL_0"}, "label2id": {"LABEL_0": 0}}
        config["pad_token_id"] = base_tokenizer().token_to_id(END)
    if layout.transformers_5:
        return config | {
            "rope_parameters": {"rope_theta": 1000000.0, "rope_type": "default"},
            "dtype": layout.dtype,
            "layer_types": ["full_attention"] * layout.layers,
        }
    return config | {"rope_theta": 1000000, "rope_scaling": None, "torch_dtype": layout.dtype}


def write_checkpoint(folder: Path, layout: Layout = EMBEDDER) -> Path:
    """Write the checkpoint that `layout` describes into `folder`, which is made; the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = network(layout)
    head = _head(layout, tensors)
    prefixed = layout.kind == "reranker" if layout.prefixed is None else layout.prefixed
    dtype = getattr(torch, layout.dtype)
    stored = {("model." if prefixed else "") + name: tensor for name, tensor in tensors.items()} | head
    write_weights(folder, {name: tensor.to(dtype) for name, tensor in stored.items()}, sharded=layout.sharded)
    write_json(folder / "config.json", config_of(layout))
    tokenizer_of(layout).save(str(folder / "tokenizer.json"))
    write_json(
        folder / "tokenizer_config.json",
        {"tokenizer_class": "Qwen2Tokenizer", "eos_token": STOP, "pad_token": END, "padding_side": "left"},
    )
    if layout.kind == "embedding" and layout.sentence_transformers:
        _write_sentence_transformers(folder, layout)
    return folder


def write_weights(folder: Path, tensors: dict[str, torch.Tensor], *, sharded: bool = False) -> None:
    """One model.safetensors, or three shards and their index."""
    if not sharded:
        save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
        return
    names, shards = list(tensors), 3
    weight_map: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        held = names[shard * len(names) // shards : (shard + 1) * len(names) // shards]
        save_file({name: tensors[name] for name in held}, folder / file, metadata={"format": "pt"})
        weight_map |= dict.fromkeys(held, file)
    size = sum(t.nbytes for t in tensors.values())
    write_json(folder / "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": weight_map})


def _write_sentence_transformers(folder: Path, layout: Layout) -> None:
    modules = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
    write_json(
        folder / "modules.json",
        [
            {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{module}"}
            for i, (path, module) in enumerate(modules)
        ],
    )
    prompts = {"query": QUERY_FORM.format(instruction=WEB_SEARCH), "document": ""}
    write_json(
        folder / "config_sentence_transformers.json",
        {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
    )
    (folder / "1_Pooling").mkdir(exist_ok=True)
    write_json(
        folder / "1_Pooling" / "config.json",
        {
            "word_embedding_dimension": layout.hidden_size,
            "pooling_mode_cls_token": False,
            "pooling_mode_mean_tokens": False,
            "pooling_mode_max_tokens": False,
            "pooling_mode_mean_sqrt_len_tokens": False,
            "pooling_mode_weightedmean_tokens": False,
            "pooling_mode_lasttoken": True,
            "include_prompt": True,
        },
    )


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file as the hubs do."""
    path.write_text(json.dumps(value, indent=2), encoding="utf-8")


def edit_json(path: Path, **changes: Any) -> None:
    """Set keys of a JSON object on disk; None removes one."""
    value = json.loads(path.read_text(encoding="utf-8")) | changes
    write_json(path, {key: v for key, v in value.items() if v is not None})


def copy_of(folder: Path, target: Path) -> Path:
    """A copy of a checkpoint that a test may damage."""
    shutil.copytree(folder, target)
    return target
