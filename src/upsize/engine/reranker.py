"""Reranker: scores of documents in a Python program of its own, no server between."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from upsize.engine.local import CALL, LocalModel
from upsize.engine.python_inputs import instruction_of, text_of, texts_of
from upsize.engine.types import Priority, RerankRequest, Result
from upsize.errors import InvalidInput
from upsize.model import RerankPrompts, probability


class Ranked(NamedTuple):
    """One document of a ranking."""

    index: int  # type: ignore[assignment]  # a tuple has a method of that name
    """Its place in the documents given."""
    score: float
    """Probability of "yes", 0 to 1."""
    document: str


class Reranker(LocalModel):
    """Scores of documents for a query, by the family's yes/no template."""

    kind = "reranker"

    @property
    def instruction(self) -> str:
        """The checkpoint's default task."""
        prompts = self._loaded.checkpoint.prompts
        assert isinstance(prompts, RerankPrompts)  # the kind was asked for
        return prompts.instruction

    def score(
        self, query: str, documents: Sequence[str], instruction: str | None = None, *, progress: bool = False
    ) -> NDArray[np.float32]:
        """Probability that each document meets the query under the instruction: float32 (n,), 0 to 1.

        Raises InvalidInput (empty query), TextTooLong, NonFiniteVector.
        """
        return probability(self.log_odds(query, documents, instruction, progress=progress))

    def log_odds(
        self, query: str, documents: Sequence[str], instruction: str | None = None, *, progress: bool = False
    ) -> NDArray[np.float32]:
        """logit(yes) − logit(no) of each document, float32 (n,): what `score` is the sigmoid of."""
        query, instruction = text_of(query, "query"), instruction_of(instruction)
        documents = texts_of(documents, "documents", may_be_empty=True)
        requests = (
            RerankRequest(query, documents[i : i + CALL], instruction, self._truncation, priority=Priority.BULK)
            for i in range(0, max(len(documents), 1), CALL)
        )
        return self._values(requests, len(documents), progress)

    def stream(self, rows: Iterable[tuple[str, Sequence[str]]], instruction: str | None = None) -> Iterator[Result]:
        """The Result of each (query, documents) row, in order: log-odds, tokens and tokens cut off of its documents.

        `rows` is read a few hundred documents ahead of what is given out. Errors as `score`; an error's `index`
        counts the documents of all rows.
        """
        instruction = instruction_of(instruction)
        return self._run(
            RerankRequest(
                text_of(query, "query"),
                texts_of(documents, "documents", may_be_empty=True),
                instruction,
                self._truncation,
                priority=Priority.BULK,
            )
            for query, documents in rows
        )

    def count_tokens(self, query: str, documents: Sequence[str], instruction: str | None = None) -> list[int]:
        """Tokens of each pair as the network would see it uncut, template included; TextTooLong for the query's own."""
        documents = texts_of(documents, "documents", may_be_empty=True)
        return self._count(RerankRequest(text_of(query, "query"), documents, instruction_of(instruction)))

    def rank(
        self, query: str, documents: Sequence[str], instruction: str | None = None, top_n: int | None = None
    ) -> list[Ranked]:
        """The documents, best first, at most `top_n` of them; InvalidInput for fewer than 1."""
        if top_n is not None and (isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1):
            raise InvalidInput(f"top_n is {top_n}; give 1 or more, or leave it out for all.", param="top_n")
        documents = texts_of(documents, "documents", may_be_empty=True)
        scores = self.score(query, documents, instruction)
        order = np.argsort(-scores, kind="stable")[:top_n]
        return [Ranked(int(i), float(scores[i]), documents[i]) for i in order]
