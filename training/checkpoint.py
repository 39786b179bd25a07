"""Writes a trained model as a Hugging Face checkpoint folder, with the files that the published models have."""

import json
import shutil
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Tokenizer

from .network import EPSILON, ROPE_THETA, Qwen3
from .prompts import DEFAULT_TASK, query_text
from .tokenizer import END, PLAIN, SPECIAL, STOP, for_model


def write_json(path: Path, value: object) -> None:
    """Write indented JSON with a final newline, making the folder when needed."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def write(model: Qwen3, tokenizer: Tokenizer, folder: Path, *, reranker: bool) -> None:
    """Write the checkpoint in bfloat16 beside `folder`, then put it in its place; a card that is there stays."""
    part = folder.with_name(folder.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    prefix = "model." if reranker else ""
    tensors = {prefix + name: tensor.to(torch.bfloat16).contiguous() for name, tensor in model.state_dict().items()}
    save_file(tensors, part / "model.safetensors", metadata={"format": "pt"})
    (part / "model.safetensors").chmod(0o644)  # safetensors writes it for its owner only
    write_json(part / "config.json", config(model, tokenizer, reranker=reranker))
    for_model(tokenizer, reranker).save(str(part / "tokenizer.json"))
    write_json(part / "tokenizer_config.json", tokenizer_config(model, tokenizer))
    if not reranker:
        prompts = {"query": query_text("", DEFAULT_TASK), "document": ""}
        write_json(
            part / "config_sentence_transformers.json",
            {"prompts": prompts, "default_prompt_name": None, "similarity_fn_name": "cosine"},
        )
        modules = (("", "Transformer"), ("1_Pooling", "Pooling"), ("2_Normalize", "Normalize"))
        write_json(
            part / "modules.json",
            [
                {"idx": i, "name": str(i), "path": path, "type": f"sentence_transformers.models.{kind}"}
                for i, (path, kind) in enumerate(modules)
            ],
        )
        pooling = {"word_embedding_dimension": model.size.hidden}
        pooling |= {f"pooling_mode_{mode}": mode == "lasttoken" for mode in POOLING_MODES}
        write_json(part / "1_Pooling/config.json", pooling | {"include_prompt": True})
    for name in ("card.json", "README.md"):
        if (folder / name).exists():
            shutil.copy2(folder / name, part / name)
    old = folder.with_name(folder.name + ".old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    part.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


POOLING_MODES = (
    "cls_token",
    "mean_tokens",
    "max_tokens",
    "mean_sqrt_len_tokens",
    "weightedmean_tokens",
    "lasttoken",
)


def config(model: Qwen3, tokenizer: Tokenizer, *, reranker: bool) -> dict:
    """The fields of a published config.json; eos is the end token for the embedder, <|im_end|> for the reranker."""
    size = model.size
    return {
        "architectures": ["Qwen3ForCausalLM"],
        "attention_bias": False,
        "attention_dropout": 0.0,
        "bos_token_id": tokenizer.token_to_id(END),
        "eos_token_id": tokenizer.token_to_id(STOP if reranker else END),
        "head_dim": size.head_dim,
        "hidden_act": "silu",
        "hidden_size": size.hidden,
        "initializer_range": 0.02,
        "intermediate_size": size.intermediate,
        "max_position_embeddings": size.max_positions,
        "max_window_layers": size.layers,
        "model_type": "qwen3",
        "num_attention_heads": size.heads,
        "num_hidden_layers": size.layers,
        "num_key_value_heads": size.kv_heads,
        "pad_token_id": tokenizer.token_to_id(END),
        "rms_norm_eps": EPSILON,
        "rope_scaling": None,
        "rope_theta": int(ROPE_THETA),
        "sliding_window": None,
        "tie_word_embeddings": True,
        "torch_dtype": "bfloat16",
        "use_cache": True,
        "use_sliding_window": False,
        "vocab_size": size.vocabulary,
    }


def tokenizer_config(model: Qwen3, tokenizer: Tokenizer) -> dict:
    """The fields of a published tokenizer_config.json that loaders read."""
    added = {
        str(tokenizer.token_to_id(token)): {
            "content": token,
            "lstrip": False,
            "normalized": False,
            "rstrip": False,
            "single_word": False,
            "special": token in SPECIAL,
        }
        for token in [*SPECIAL, *PLAIN]
    }
    return {
        "add_bos_token": False,
        "add_prefix_space": False,
        "added_tokens_decoder": added,
        "bos_token": None,
        "clean_up_tokenization_spaces": False,
        "eos_token": STOP,
        "errors": "replace",
        "model_max_length": model.size.max_positions,
        "pad_token": END,
        "padding_side": "left",
        "split_special_tokens": False,
        "tokenizer_class": "Qwen2Tokenizer",
        "unk_token": None,
    }
