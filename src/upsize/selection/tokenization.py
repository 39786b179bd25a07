"""Texts as token ids. Models whose tokenizers and prompts are equal share one tokenisation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from upsize.evaluation.tasks import Group
from upsize.model import Checkpoint, EmbeddingPrompts
from upsize.progress import ProgressBar
from upsize.selection.candidates import CandidateModel

BLOCK = 512
"""Texts tokenised at a time; chosen: enough for the tokenizer's threads, and little memory."""


@dataclass(frozen=True)
class TokenizedTexts:
    """Token ids of many texts, end to end, without the end token."""

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    """(texts,) offset at which each text's ids end."""

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, index: int) -> NDArray[np.int32]:
        return self.ids[self.ends[index - 1] if index else 0 : self.ends[index]]

    def lengths(self, limit: int) -> NDArray[np.int64]:
        """(texts,) tokens of each text, the end token included, truncated to `limit`."""
        lengths: NDArray[np.int64] = np.minimum(self._full_lengths(), limit)
        return lengths

    def count_longer(self, limit: int) -> int:
        """How many texts have more tokens than `limit`, the end token included."""
        return int((self._full_lengths() > limit).sum())

    def _full_lengths(self) -> NDArray[np.int64]:
        return np.diff(self.ends, prepend=0) + 1


def tokenize_groups(
    groups: Mapping[str, Group], models: Sequence[CandidateModel], *, progress: bool
) -> dict[CandidateModel, dict[str, TokenizedTexts]]:
    """Embedder → group → token ids, instructions included."""
    known: dict[tuple[str, str, str], TokenizedTexts] = {}
    tokens: dict[CandidateModel, dict[str, TokenizedTexts]] = {}
    for model in models:
        checkpoint = model.checkpoint
        assert isinstance(checkpoint.prompts, EmbeddingPrompts)  # open_models admits embedders alone
        tokens[model] = {}
        for name, group in groups.items():
            prefix = checkpoint.prompts.prefix(group.input_type, group.instruction)
            key = (name, checkpoint.tokenizer.digest, prefix)
            if key not in known:
                known[key] = tokenize_texts(name, group.texts, prefix, checkpoint, progress=progress)
            tokens[model][name] = known[key]
    return tokens


def tokenize_texts(
    name: str, texts: Sequence[str], prefix: str, checkpoint: Checkpoint, *, progress: bool
) -> TokenizedTexts:
    """Token ids of each text after `prefix`."""
    parts: list[NDArray[np.int32]] = []
    ends = np.zeros(len(texts), np.int64)
    done = total = 0
    with ProgressBar(f"{name} tokenised", total=len(texts), unit="texts", show=progress) as bar:
        for block in _blocks(texts):
            encoded = checkpoint.tokenizer.encode_batch([prefix + text for text in block])
            ends[done : done + len(block)] = total + np.cumsum([len(ids) for ids in encoded])
            parts.append(np.concatenate(encoded))
            done, total = done + len(block), total + len(parts[-1])
            bar.update(len(block))
    return TokenizedTexts(np.concatenate(parts), ends)


def _blocks(texts: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(texts)
    while block := list(islice(rest, BLOCK)):
        yield block
