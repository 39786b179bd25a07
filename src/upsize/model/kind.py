"""What a checkpoint is, embedder or reranker, told from its own files. The first sign that speaks decides."""

from __future__ import annotations

import json
from pathlib import Path

from upsize.catalog import Kind
from upsize.errors import UnsupportedModel
from upsize.model.config import ModelConfig, read_json
from upsize.model.tokenizer import TextTokenizer
from upsize.model.weights import Weights

CHAT_VOCABULARY = 151936
"""Qwen3 chat models pad their vocabulary to this; no embedder or reranker of the family does."""


def tell_kind(folder: Path, config: ModelConfig, weights: Weights, tokenizer: TextTokenizer) -> Kind:
    """The kind, or UnsupportedModel where nothing in the files tells it."""
    if "score.weight" in weights.tensors:
        return "reranker"
    if config.architecture == "Qwen3ForSequenceClassification":
        raise UnsupportedModel(folder, "a score.weight for Qwen3ForSequenceClassification", "none")
    modules = folder / "modules.json"
    if modules.exists():
        types = " ".join(str(m.get("type", "")) for m in _modules(modules))
        if "Pooling" in types:
            return "embedding"
        if "cross_encoder" in types or "LogitScore" in types:
            return "reranker"
    if (folder / "1_Pooling" / "config.json").exists() or tokenizer.appends_end:
        return "embedding"
    if config.vocab_size != CHAT_VOCABULARY and weights.prefixed:
        return "reranker"
    if config.vocab_size != CHAT_VOCABULARY:
        return "embedding"
    raise UnsupportedModel(
        folder,
        "an embedder (modules.json with a pooling, or a tokenizer that appends <|endoftext|>) or a reranker",
        "neither sign, and the vocabulary of a chat model",
        "If it is a fine-tuned one that lost its files, say which: --task embedding or --task reranker.",
    )


def check_pooling(folder: Path) -> None:
    """Refuse a pooling that is not the family's: last token, prompt included."""
    path = folder / "1_Pooling" / "config.json"
    if not path.exists():
        return
    raw = read_json(path, "the pooling's configuration")
    modes = [k for k, v in raw.items() if k.startswith("pooling_mode_") and v is True]
    modes += [str(raw["pooling_mode"])] if isinstance(raw.get("pooling_mode"), str) else []
    if modes not in (["pooling_mode_lasttoken"], ["lasttoken"], []):
        raise UnsupportedModel(path, "last-token pooling", ", ".join(modes))
    if raw.get("include_prompt", True) is not True:
        raise UnsupportedModel(path, "include_prompt true, as the whole family has", repr(raw["include_prompt"]))


def _modules(path: Path) -> list[dict[str, object]]:
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise UnsupportedModel(path, "the list of sentence-transformers modules", f"unreadable JSON ({error})") from error
    if not isinstance(value, list):
        raise UnsupportedModel(path, "the list of sentence-transformers modules", f"a JSON {type(value).__name__}")
    return [m for m in value if isinstance(m, dict)]
