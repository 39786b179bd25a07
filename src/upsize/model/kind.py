"""Finds out from its files whether a checkpoint is an embedder or a reranker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from upsize.catalog import Kind
from upsize.errors import UnsupportedModel
from upsize.model.config import ModelConfig, is_there
from upsize.model.modules import Module
from upsize.model.tokenizer import TextTokenizer
from upsize.model.weights import Weights

CHAT_VOCABULARY = 151936
"""Qwen3 chat models pad their vocabulary to this; no embedder or reranker of the family does."""

_A: dict[Kind, str] = {"embedding": "an embedder", "reranker": "a reranker"}
_ADVICE: dict[Kind, str] = {
    "embedding": "It gives vectors: use Embedder, or upsize embed.",
    "reranker": "It gives scores of pairs: use Reranker, or upsize rerank.",
}


def tell_kind(
    folder: Path,
    config: ModelConfig,
    weights: Weights,
    tokenizer: TextTokenizer,
    modules: Sequence[Module] = (),
    stated: Kind | None = None,
) -> Kind:
    """Return the kind of a checkpoint. `stated` by the user decides if the files give no clear sign.

    Raises UnsupportedModel if the files contradict it, or if neither the files nor the user say the kind.
    """
    clear_sign = _find_sign(folder, config, weights, tokenizer, modules)
    if clear_sign is not None:
        kind, sign = clear_sign
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


def _find_sign(
    folder: Path, config: ModelConfig, weights: Weights, tokenizer: TextTokenizer, modules: Sequence[Module]
) -> tuple[Kind, str] | None:
    """(kind, sign), from a feature that only one of the kinds has; None without one."""
    if "score.weight" in weights.tensors:
        return "reranker", "score.weight among the tensors"
    if config.architecture == "Qwen3ForSequenceClassification":
        raise UnsupportedModel(folder, "a score.weight for Qwen3ForSequenceClassification", "none")
    types = " ".join(module.whole_type for module in modules)
    if "Pooling" in types:
        return "embedding", "a pooling in modules.json"
    if "cross_encoder" in types or "LogitScore" in types:
        return "reranker", "a scoring module in modules.json"
    if is_there(folder / "1_Pooling" / "config.json"):
        return "embedding", "1_Pooling/config.json"
    if tokenizer.appends_end:
        return "embedding", "a tokenizer that appends <|endoftext|>"
    if weights.prefixed and config.vocab_size != CHAT_VOCABULARY:
        return "reranker", "tensors named model.…, a tokenizer that appends nothing, and no 1_Pooling/config.json"
    return None
