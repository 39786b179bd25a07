"""What a checkpoint is, embedder or reranker, told from its own files."""

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

MODULES = ("Transformer", "Pooling", "Normalize", "Dropout")
"""sentence-transformers modules that an embedder may have; the last does nothing outside training."""

_A: dict[Kind, str] = {"embedding": "an embedder", "reranker": "a reranker"}
_ADVICE: dict[Kind, str] = {
    "embedding": "It gives vectors: use Embedder, or upsize embed.",
    "reranker": "It gives scores of pairs: use Reranker, or upsize rerank.",
}


def tell_kind(
    folder: Path, config: ModelConfig, weights: Weights, tokenizer: TextTokenizer, stated: Kind | None = None
) -> Kind:
    """The kind. What the user `stated` decides where the files give no clear sign; where they contradict it, or where
    nothing tells, UnsupportedModel."""
    told = _clear_sign(folder, config, weights, tokenizer)
    if told is not None:
        kind, sign = told
        if stated is not None and stated != kind:
            raise UnsupportedModel(folder, _A[stated], f"{_A[kind]} ({sign})", _ADVICE[kind])
        return kind
    if stated is not None:
        return stated
    if config.vocab_size != CHAT_VOCABULARY:
        return "embedding"
    raise UnsupportedModel(
        folder,
        "an embedder (modules.json with a pooling, or a tokenizer that appends <|endoftext|>) or a reranker",
        "neither sign, and the vocabulary of a chat model",
        "If it is a fine-tuned one that lost its files, say which: --task embedding or --task reranker.",
    )


def _clear_sign(
    folder: Path, config: ModelConfig, weights: Weights, tokenizer: TextTokenizer
) -> tuple[Kind, str] | None:
    """The kind and the sign of it, from what only one of the two has."""
    if "score.weight" in weights.tensors:
        return "reranker", "score.weight among the tensors"
    if config.architecture == "Qwen3ForSequenceClassification":
        raise UnsupportedModel(folder, "a score.weight for Qwen3ForSequenceClassification", "none")
    modules = folder / "modules.json"
    if modules.exists():
        types = " ".join(str(m.get("type", "")) for m in _modules(modules))
        if "Pooling" in types:
            return "embedding", "a pooling in modules.json"
        if "cross_encoder" in types or "LogitScore" in types:
            return "reranker", "a scoring module in modules.json"
    if (folder / "1_Pooling" / "config.json").exists():
        return "embedding", "1_Pooling/config.json"
    if tokenizer.appends_end:
        return "embedding", "a tokenizer that appends <|endoftext|>"
    if weights.prefixed and config.vocab_size != CHAT_VOCABULARY:
        return "reranker", "tensors named model.…, a tokenizer that appends nothing, and no 1_Pooling/config.json"
    return None


def check_modules(folder: Path) -> None:
    """Refuse an embedder with a module that would not be run, such as a Dense projection after the pooling."""
    path = folder / "modules.json"
    for module in _modules(path) if path.exists() else []:
        name = str(module.get("type", "")).rsplit(".", 1)[-1]
        if name not in MODULES:
            raise UnsupportedModel(path, f"no module but {', '.join(MODULES)}, as the whole family has", name)


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
        raise UnsupportedModel(
            path, "the list of sentence-transformers modules", f"unreadable JSON ({error})"
        ) from error
    if not isinstance(value, list):
        raise UnsupportedModel(path, "the list of sentence-transformers modules", f"a JSON {type(value).__name__}")
    return [m for m in value if isinstance(m, dict)]
