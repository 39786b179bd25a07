"""Checkpoint: one model folder, checked in full before anything is computed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from upsize.catalog import FamilyMember, Kind, recognise
from upsize.errors import CheckpointError, UnsupportedModel
from upsize.fingerprint import Fingerprint
from upsize.model.chat_template import check_template
from upsize.model.config import ModelConfig, read_config
from upsize.model.kind import tell_kind
from upsize.model.modules import ScoreTokens, check_embedder, check_reranker, read_modules, transformer_folder
from upsize.model.prompts import EmbeddingPrompts, RerankPrompts
from upsize.model.sentence_transformers import Declared
from upsize.model.tokenizer import TextTokenizer
from upsize.model.transformer_settings import check_transformer, read_settings
from upsize.model.weights import Weights, find_weights

CONTEXT = 32768
"""The model cards promise 32K for all six models, whatever max_position_embeddings says (docs/sources.md §1)."""


@dataclass(frozen=True)
class Checkpoint:
    """A folder of the Hugging Face layout. Build it with `open_checkpoint`."""

    folder: Path
    kind: Kind
    config: ModelConfig
    weights: Weights
    tokenizer: TextTokenizer
    prompts: EmbeddingPrompts | RerankPrompts
    member: FamilyMember | None
    """The published checkpoint of this shape; None if there is none."""
    longest: int | None = None
    """Limit in tokens from the settings of sentence-transformers or the tokenizer; None without one."""
    score_tokens: ScoreTokens | None = None
    """The tokens whose logits make a reranker's score, if its files name them; otherwise yes and no."""

    @property
    def context(self) -> int:
        """Longest sequence in tokens."""
        return min(self.config.max_positions, CONTEXT, self.longest or CONTEXT)

    def fingerprint(self, dtype: str, max_length: int, quantization: str = "none") -> Fingerprint:
        """Return the fingerprint of this checkpoint's full-dimension vectors."""
        embedding = self.kind == "embedding"
        return Fingerprint(
            weights=self.weights.digest,
            tokenizer=self.tokenizer.digest,
            pooling="last-token" if embedding else self._scoring,
            prompts=self.prompts.digest(),
            max_length=max_length,
            dimension=self.config.hidden_size if embedding else 1,
            normalized=embedding,
            dtype=dtype,
            quantization=quantization,
            network=self.config.numbers,
        )

    @property
    def _scoring(self) -> str:
        own, usual = self.score_tokens, tuple(map(self.tokenizer.token_id, ("yes", "no")))
        return "yes-no" if own is None or (own.true, own.false) == usual else f"logits {own.true} and {own.false}"

    def sampled_fingerprint(self, dtype: str, max_length: int, quantization: str = "none") -> Fingerprint:
        """Return the fingerprint that older versions gave to the same space, from samples of the weights' bytes."""
        whole = self.fingerprint(dtype, max_length, quantization)
        return replace(whole, weights=self.weights.sampled_digest, network="")

    @cached_property
    def identity(self) -> str:
        """32 hexadecimal digits of the weights and the network's numbers: a name for data derived from them."""
        return hashlib.sha256(f"{self.weights.digest}\n{self.config.numbers}".encode()).hexdigest()[:32]


def open_checkpoint(folder: Path | str, kind: Kind | None = None) -> Checkpoint:
    """Read and check a model folder, without loading weights.

    `kind` is what the user says it is: it decides where the files do not tell. Raises CheckpointError, naming file,
    expectation and finding, for a folder that is incomplete, broken, or of another architecture or kind.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(folder, "a model folder", "a file" if folder.exists() else "no such folder")
    modules = read_modules(folder)
    inner = transformer_folder(folder, modules)
    if not (inner / "config.json").exists() and (hint := _what_instead(inner)):
        raise CheckpointError(inner / "config.json", "the model's configuration", "no such file", hint)
    _require_no_adapter({folder, inner})
    config = read_config(inner)
    settings = read_settings(inner)
    tokenizer = TextTokenizer(inner / "tokenizer.json", settings.lowercase)
    weights = find_weights(inner, config)
    if tokenizer.size > config.vocab_size:
        raise CheckpointError(
            inner / "tokenizer.json", f"at most {config.vocab_size} ids (vocab_size)", f"{tokenizer.size}"
        )
    kind = tell_kind(folder, config, weights, tokenizer, modules, kind)
    declared, tokens = Declared(folder), None
    prompts: EmbeddingPrompts | RerankPrompts
    declared.check(kind)
    check_transformer(inner, kind)
    if kind == "embedding":
        check_embedder(folder, modules, config, declared.similarity)
        prompts = declared.embedding_prompts()
    else:
        tokens = check_reranker(folder, modules, tokenizer.size, "score.weight" in weights.tensors)
        prompts = declared.rerank_prompts(check_template(inner, settings))
    member = recognise(kind, config.hidden_size, config.layers, config.heads, config.intermediate_size)
    return Checkpoint(folder, kind, config, weights, tokenizer, prompts, member, settings.longest, tokens)


def _require_no_adapter(folders: set[Path]) -> None:
    """Refuse an adapter beside its base's weights: transformers loads it, and it changes every vector."""
    for folder in folders:
        for path in (folder / "adapter_config.json", *sorted(folder.glob("adapter_model*"))):
            if path.exists():
                raise UnsupportedModel(
                    path,
                    "a model without an adapter beside its weights",
                    "a LoRA adapter, which would not be used",
                    "Merge the LoRA adapter into the weights (peft's merge_and_unload) and save that, or move its "
                    "files elsewhere to serve the base model.",
                )


def _what_instead(folder: Path) -> str:
    """Say what a folder without config.json holds, and what to do; empty if unknown."""
    if (folder / "adapter_config.json").exists():
        return "This is a LoRA adapter alone: merge it into its base model (peft's merge_and_unload) and save that."
    if any(folder.glob("*.gguf")):
        return "GGUF files are not read: give the original folder, with model.safetensors."
    return ""
