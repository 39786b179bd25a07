"""Texts as tokens, counted once: models whose tokenizers and prompts are equal share the work."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from upsize.evaluation.tasks import Group
from upsize.model import Checkpoint, EmbeddingPrompts
from upsize.progress import ProgressBar

BLOCK = 512


@dataclass(frozen=True)
class TokenizedTexts:
    """The ids of many texts, end to end, without the end token."""

    ids: NDArray[np.int32]
    ends: NDArray[np.int64]
    """Where each text's ids end."""

    def __len__(self) -> int:
        return len(self.ends)

    def __getitem__(self, place: int) -> NDArray[np.int32]:
        return self.ids[self.ends[place - 1] if place else 0 : self.ends[place]]

    def lengths(self, limit: int) -> NDArray[np.int64]:
        """Tokens of each text as a network that takes `limit` sees it, the end token included."""
        lengths: NDArray[np.int64] = np.minimum(np.diff(self.ends, prepend=0) + 1, limit)
        return lengths

    def cut(self, limit: int) -> int:
        """How many texts are longer than that."""
        return int((np.diff(self.ends, prepend=0) + 1 > limit).sum())


class Tokeniser:
    """Gives the tokens of a group for a checkpoint, and keeps them for the next one that would make the same."""

    def __init__(self, groups: Mapping[str, Group], progress: bool = False) -> None:
        self._groups, self._progress = groups, progress
        self._kept: dict[tuple[str, str, str], TokenizedTexts] = {}

    def tokens(self, name: str, checkpoint: Checkpoint) -> TokenizedTexts:
        """Of the group `name`, instruction included."""
        group = self._groups[name]
        assert isinstance(checkpoint.prompts, EmbeddingPrompts)  # embedders are compared
        prefix = checkpoint.prompts.prefix(group.input_type, group.instruction)
        key = (name, checkpoint.tokenizer.digest, prefix)
        if key not in self._kept:
            self._kept[key] = self._encode(name, group.texts, prefix, checkpoint)
        return self._kept[key]

    def _encode(self, name: str, texts: Sequence[str], prefix: str, checkpoint: Checkpoint) -> TokenizedTexts:
        parts: list[NDArray[np.int32]] = []
        ends = np.zeros(len(texts), np.int64)
        done = total = 0
        with ProgressBar(f"{name} tokenised", total=len(texts), unit="texts", show=self._progress) as bar:
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
