"""Reranker: scores documents from Python, without a server."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from upsize.engine.local import REQUEST_TEXTS, LocalModel
from upsize.engine.python_inputs import instruction_of, text_of, texts_of
from upsize.engine.types import Priority, RerankRequest, Result
from upsize.errors import InvalidInput
from upsize.model import RerankPrompts, probability


class Ranked(NamedTuple):
    """One document of a ranking."""

    index: int  # type: ignore[assignment]  # tuple has a method of this name
    """Index in the given documents."""
    score: float
    """Probability of "yes", 0 to 1."""
    document: str


class Reranker(LocalModel):
    """Scores documents for a query with the family's yes/no template."""

    kind = "reranker"

    @property
    def instruction(self) -> str:
        """The checkpoint's default instruction."""
        prompts = self._loaded.checkpoint.prompts
        assert isinstance(prompts, RerankPrompts)  # `kind` is checked at load
        return prompts.instruction

    def score(
        self, query: str, documents: Sequence[str], instruction: str | None = None, *, progress: bool = False
    ) -> NDArray[np.float32]:
        """Probability that each document answers the query under the instruction: float32 (n,), 0 to 1.

        Raises InvalidInput (empty query), TextTooLong, NonFiniteVector.
        """
        return probability(self.log_odds(query, documents, instruction, progress=progress))

    def log_odds(
        self, query: str, documents: Sequence[str], instruction: str | None = None, *, progress: bool = False
    ) -> NDArray[np.float32]:
        """logit(yes) − logit(no) of each document, float32 (n,). `score` is its sigmoid."""
        query, instruction = text_of(query, "query"), instruction_of(instruction)
        documents = texts_of(documents, "documents", may_be_empty=True)
        requests = (
            RerankRequest(
                query, documents[i : i + REQUEST_TEXTS], instruction, self._truncation, priority=Priority.BULK
            )
            for i in range(0, max(len(documents), 1), REQUEST_TEXTS)
        )
        return self._values(requests, len(documents), progress)

    def stream(self, rows: Iterable[tuple[str, Sequence[str]]], instruction: str | None = None) -> Iterator[Result]:
        """Score (query, documents) rows; yields a Result for each, in order, with log-odds and token counts.

        `rows` is read a few hundred documents ahead. Errors as for `score`; the `index` of an error counts the
        documents of all rows.
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
        """Tokens of each pair without truncation, template included. Raises TextTooLong for too long a query."""
        documents = texts_of(documents, "documents", may_be_empty=True)
        return self._count(RerankRequest(text_of(query, "query"), documents, instruction_of(instruction)))

    def rank(
        self, query: str, documents: Sequence[str], instruction: str | None = None, top_n: int | None = None
    ) -> list[Ranked]:
        """The documents, best first, at most `top_n`. Raises InvalidInput for a `top_n` below 1."""
        if top_n is not None and (isinstance(top_n, bool) or not isinstance(top_n, int) or top_n < 1):
            raise InvalidInput(f"top_n is {top_n}; give 1 or more, or leave it out for all.", param="top_n")
        documents = texts_of(documents, "documents", may_be_empty=True)
        scores = self.score(query, documents, instruction)
        order = np.argsort(-scores, kind="stable")[:top_n]
        return [Ranked(int(i), float(scores[i]), documents[i]) for i in order]
