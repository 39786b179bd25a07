"""Checkpoint: one model folder, checked as a whole before anything is computed."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from upsize.catalog import FamilyMember, Kind, recognise
from upsize.errors import CheckpointError
from upsize.model.config import ModelConfig, read_config, read_json
from upsize.model.kind import check_modules, check_pooling, tell_kind
from upsize.model.prompts import EmbeddingPrompts, RerankPrompts
from upsize.model.tokenizer import TextTokenizer
from upsize.model.weights import Weights, find_weights
from upsize.space import Fingerprint

CONTEXT = 32768
"""The cards promise 32K for all six, whatever max_position_embeddings says."""


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
    """The published checkpoint of this shape, where there is one."""

    @property
    def context(self) -> int:
        """Longest sequence in tokens."""
        return min(self.config.max_positions, CONTEXT)

    def fingerprint(self, dtype: str, max_length: int, quantization: str = "none") -> Fingerprint:
        """The space of this checkpoint's full-size vectors."""
        embedding = self.kind == "embedding"
        return Fingerprint(
            weights=self.weights.digest,
            tokenizer=self.tokenizer.digest,
            pooling="last-token" if embedding else "yes-no",
            prompts=self.prompts.digest(),
            max_length=max_length,
            dimension=self.config.hidden_size if embedding else 1,
            normalized=embedding,
            dtype=dtype,
            quantization=quantization,
            network=self.config.numbers,
        )

    def sampled_fingerprint(self, dtype: str, max_length: int, quantization: str = "none") -> Fingerprint:
        """The fingerprint that versions before gave to the same space: of samples of the weights' bytes."""
        whole = self.fingerprint(dtype, max_length, quantization)
        return replace(whole, weights=self.weights.sampled_digest, network="")

    @cached_property
    def identity(self) -> str:
        """32 hexadecimal digits of the weights and the numbers that the network computes with: names what is derived
        from them."""
        return hashlib.sha256(f"{self.weights.digest}\n{self.config.numbers}".encode()).hexdigest()[:32]


def open_checkpoint(folder: Path | str, kind: Kind | None = None) -> Checkpoint:
    """Read and check a model folder; nothing large is loaded yet.

    `kind` is what the user says it is: it decides where the files do not tell. Raises CheckpointError, naming file,
    expectation and finding, for a folder that is incomplete, broken, or of another architecture or kind.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise CheckpointError(folder, "a model folder", "a file" if folder.exists() else "no such folder")
    if not (folder / "config.json").exists() and (hint := _what_instead(folder)):
        raise CheckpointError(folder / "config.json", "the model's configuration", "no such file", hint)
    config = read_config(folder)
    tokenizer = TextTokenizer(folder / "tokenizer.json")
    weights = find_weights(folder, config)
    if tokenizer.size > config.vocab_size:
        raise CheckpointError(
            folder / "tokenizer.json", f"at most {config.vocab_size} ids (vocab_size)", f"{tokenizer.size}"
        )
    kind = tell_kind(folder, config, weights, tokenizer, kind)
    if kind == "embedding":
        check_modules(folder)
    check_pooling(folder)
    member = recognise(kind, config.hidden_size, config.layers, config.heads, config.intermediate_size)
    prompts = _embedding_prompts(folder) if kind == "embedding" else _rerank_prompts(folder)
    return Checkpoint(folder, kind, config, weights, tokenizer, prompts, member)


def _what_instead(folder: Path) -> str:
    """What a folder without config.json holds instead, and what to do; empty if that cannot be told."""
    if (folder / "adapter_config.json").exists():
        return "This is a LoRA adapter alone: merge it into its base model (peft's merge_and_unload) and save that."
    if any(folder.glob("*.gguf")):
        return "GGUF files are not read: give the original folder, with model.safetensors."
    return ""


def _sentence_transformers(folder: Path) -> dict[str, Any]:
    path = folder / "config_sentence_transformers.json"
    return read_json(path, "prompts") if path.exists() else {}


def _embedding_prompts(folder: Path) -> EmbeddingPrompts:
    own = _sentence_transformers(folder).get("prompts") or {}
    default = EmbeddingPrompts()
    query, document = own.get("query"), own.get("document", own.get("passage"))
    return EmbeddingPrompts(
        query if isinstance(query, str) else default.query,
        document if isinstance(document, str) else default.document,
    )


def _rerank_prompts(folder: Path) -> RerankPrompts:
    raw = _sentence_transformers(folder)
    own = (raw.get("prompts") or {}).get(raw.get("default_prompt_name"))
    return RerankPrompts(own) if isinstance(own, str) and own else RerankPrompts()
