"""Endless streams of training batches: texts with teacher vectors, and queries with passages."""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from .batches import by_length, pad
from .instructions import wordings
from .losses import clashes
from .prompts import DEFAULT_TASK, SYMMETRIC_TASK, query_text
from .rows import MAX_TOKENS, DistilRows, TrainingPairs

WORDINGS = 3000
"""Instructions drawn once and kept as tokens."""


class DistilBatch(NamedTuple):
    """Texts and what they should meet."""

    ids: Tensor  # (batch, length)
    last: Tensor  # (batch, 1)
    targets: Tensor  # (batch, hidden)


class PairBatch(NamedTuple):
    """Queries, the passages that answer them with negatives behind, and which of them may count as negatives."""

    query_ids: Tensor
    query_last: Tensor
    passage_ids: Tensor
    passage_last: Tensor
    allowed: Tensor  # bool (queries, passages)


class DistilStream:
    """Texts with teacher vectors; some stand behind an instruction, some are several sentences joined."""

    def __init__(self, rows: DistilRows, vectors: np.ndarray, tokens: int, seed: int) -> None:
        self.rows, self.vectors, self.tokens = rows, vectors, tokens
        self.rng = np.random.default_rng(seed)
        self.prefixes = [prefix(rows, task) for task in (DEFAULT_TASK, SYMMETRIC_TASK)]
        self.varied = [prefix(rows, task) for task in wordings(WORDINGS, seed)]

    def __iter__(self) -> Iterator[DistilBatch]:
        while True:
            examples = [self.example(int(index)) for index in self.rows.draw(self.rng, 20_000)]
            groups = list(by_length(np.array([len(ids) for ids, _ in examples]), self.tokens))
            for number in self.rng.permutation(len(groups)):
                chosen = [examples[i] for i in groups[number]]
                targets = torch.from_numpy(np.stack([target for _, target in chosen]))
                yield DistilBatch(*pad([ids for ids, _ in chosen], self.rows.end), targets)

    def example(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Ids and target of a text, or of a text made from it."""
        rows, kind = self.rows, self.rng.random()
        ids, target = rows.texts[index], self.vectors[rows.targets[index]].astype(np.float32)
        if kind < 0.18:
            varied = self.varied[int(self.rng.integers(WORDINGS))]
            instruction = varied if kind < 0.1 else self.prefixes[int(kind < 0.12)]
            return np.concatenate([instruction, ids]), target
        if kind < 0.28:  # a made-up document: its target is the sum of its sentences' vectors
            language = str(self.rng.choice(["en", "zh", "fr", "de"], p=[0.4, 0.4, 0.15, 0.05]))
            others = self.rng.choice(rows.sentences[language], self.rng.integers(2, 6))
            joined = np.concatenate([rows.texts[other] for other in others])[:MAX_TOKENS]
            return joined, self.vectors[rows.targets[others]].astype(np.float32).sum(0)
        return ids, target


class PairStream:
    """Queries behind their instruction with their passages and mined negatives, spans with their text, translations."""

    def __init__(self, pairs: TrainingPairs, distil: DistilRows, negatives: np.ndarray, tokens: int, seed: int) -> None:
        self.pairs, self.distil, self.negatives, self.tokens = pairs, distil, negatives, tokens
        self.rng = np.random.default_rng(seed)
        prefixes = {task: prefix(distil, task) for task in {*pairs.tasks, DEFAULT_TASK}}
        self.prefixes = [prefixes[task] for task in pairs.tasks]
        self.default = prefixes[DEFAULT_TASK]
        self.varied = [prefix(distil, task) for task in wordings(WORDINGS, seed)]

    def __iter__(self) -> Iterator[PairBatch]:
        makers = {"en": self.asked, "zh": self.asked, "other": self.asked, "bitext": self.translated}
        while True:
            batches = []
            for name, count in (("en", 2200), ("zh", 1600), ("other", 400), ("bitext", 1600)):
                examples = [makers[name](name) for _ in range(count)]
                for group in by_length(np.array([len(example[1]) for example in examples]), self.tokens):
                    if len(group) > 8:
                        batches.append([examples[i] for i in group[:256]])
            for number in self.rng.permutation(len(batches)):
                yield self.batch(batches[number])

    def batch(self, examples: list[tuple]) -> PairBatch:
        """Pad the examples (query, passage, their numbers, index of a mined negative or −1)."""
        numbers = torch.tensor([example[2] for example in examples])
        mined = [example[3] for example in examples if example[3] >= 0]
        more = torch.from_numpy(self.pairs.same[mined]) if mined else numbers[:0]
        longest = max(len(example[1]) for example in examples)
        passages = [example[1] for example in examples] + [self.pairs.passages[i][:longest] for i in mined]
        allowed = ~clashes(numbers, torch.cat([numbers, more]))
        queries = pad([example[0] for example in examples], self.distil.end)
        return PairBatch(*queries, *pad(passages, self.distil.end), allowed)

    def asked(self, lang: str) -> tuple[np.ndarray, np.ndarray, tuple[int, int], int]:
        """A written pair, a span of a passage with it, or a span of a made-up document with it."""
        rng, pairs, kind = self.rng, self.pairs, self.rng.random()
        index = int(pairs.draw[lang](rng, 1)[0])
        if kind < 0.5 or lang == "other":
            query = pairs.queries[index]
            if rng.random() < 0.9:
                query = np.concatenate([self.instruction(self.prefixes[index]), query])
            negative = int(rng.choice(self.negatives[index]))
            return query, pairs.passages[index], tuple(map(int, pairs.same[index])), negative
        if kind < 0.75:
            passage, number = pairs.passages[index], int(pairs.same[index, 1])
        else:
            others = rng.choice(self.distil.sentences[lang], rng.integers(2, 6))
            passage = np.concatenate([self.distil.texts[other] for other in others])[:MAX_TOKENS]
            number = self.unique()
        query = np.concatenate([self.instruction(self.default), self.span(passage)])
        return query, passage, (self.unique(), number), -1

    def instruction(self, usual: np.ndarray) -> np.ndarray:
        """The usual one, or half the time another wording."""
        return usual if self.rng.random() < 0.5 else self.varied[int(self.rng.integers(WORDINGS))]

    def translated(self, _: str) -> tuple[np.ndarray, np.ndarray, tuple[int, int], int]:
        """A text of another language and its English side, without instruction."""
        rows = self.distil
        language = str(self.rng.choice(["zh", "fr", "de"], p=[0.6, 0.25, 0.15]))
        index = int(rows.translated[language](self.rng, 1)[0])
        number = -2 - int(rows.targets[index])
        english = rows.english[index]
        return rows.texts[index], rows.texts[english if english >= 0 else index], (number, number), -1

    def span(self, text: np.ndarray) -> np.ndarray:
        """A run of 4 to 16 tokens, a tenth of them left out."""
        length = min(int(self.rng.integers(4, 17)), max(len(text) - 2, 1))
        start = int(self.rng.integers(0, len(text) - length + 1))
        part = text[start : start + length]
        keep = self.rng.random(length) > 0.1
        return part[keep] if keep.any() else part

    def unique(self) -> int:
        """A number that no other example has."""
        return -int(self.rng.integers(2**40, 2**60))


def prefix(rows: DistilRows, task: str) -> np.ndarray:
    """Ids of the instruction before a query."""
    return np.array(rows.tokenizer.encode(query_text("", task), add_special_tokens=False).ids, dtype=np.uint16)
