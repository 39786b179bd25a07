"""Embedder and Reranker: the engine for a Python program of its own, no server between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from itertools import chain
from types import TracebackType
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from upsize.catalog import Kind
from upsize.compute import load_model
from upsize.engine.engine import Engine, Limits
from upsize.engine.nouns import EmbedRequest, Lane, RerankRequest, Result
from upsize.errors import InvalidInput, NonFiniteVector, TextTooLong
from upsize.model import HubOptions, Truncation, probability
from upsize.space import Fingerprint

CALL = 64
"""Texts of one request to the engine; a few requests are in it at once."""
AHEAD = 4


class _Local:
    """An engine with one model in it."""

    kind: Kind

    def __init__(
        self,
        model: str,
        *,
        dtype: str = "auto",
        device: str = "auto",
        max_length: int | None = None,
        truncate: bool = False,
        hub: HubOptions = HubOptions(),
    ) -> None:
        """Load `model`: a folder, a hub id, or a demo name.

        `dtype` is "auto" (the checkpoint's own), "float32", "bfloat16" or "float16"; `device` "auto", "cpu" or
        "cuda". Longer texts than `max_length` tokens (default: what the model takes) raise TextTooLong, or are cut
        if `truncate`.
        """
        loaded = load_model(
            model, kind=self.kind, device=device, dtype=dtype, max_length=max_length, hub=hub
        )
        self._loaded, self._truncation = loaded, Truncation(truncate)
        self._engine = Engine({"model": loaded}, Limits(queued_tokens=1 << 40))

    @property
    def dtype(self) -> str:
        """The precision in use."""
        return self._loaded.plan.precision

    @property
    def max_length(self) -> int:
        """Longest text in tokens, instruction and end token included."""
        return self._loaded.plan.max_length

    def close(self) -> None:
        """Stop the engine's threads. Also done by `with`, and when the object is collected at exit."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, requests: Iterable[EmbedRequest | RerankRequest], total: int, progress: bool) -> Iterator[Result]:
        """Results in order, a few requests under way at once, so that any number of texts needs little memory."""
        under_way: deque[Future[Result]] = deque()
        with tqdm(total=total, unit="text", disable=not progress) as bar:
            try:
                done = 0
                for request in chain(requests, [None] * AHEAD):
                    if request is not None:
                        under_way.append(self._engine.submit("model", request))
                    if under_way and (request is None or len(under_way) > AHEAD):
                        result = _answer(under_way.popleft(), done)
                        done += len(result.values)
                        bar.update(len(result.values))
                        yield result
            finally:
                for future in under_way:
                    future.cancel()


def _answer(future: Future[Result], done: int) -> Result:
    """Wait for one request's result; an error names the text's place among all texts, of which `done` came before."""
    try:
        return future.result()
    except TextTooLong as error:
        raise TextTooLong(error.tokens, error.limit, param=error.param, index=_shift(error.index, done)) from None
    except NonFiniteVector as error:
        raise NonFiniteVector(error.index + done, error.precision) from None


def _shift(index: int | None, done: int) -> int | None:
    return None if index is None else index + done


class Embedder(_Local):
    """Vectors of texts.

    >>> from upsize import Embedder
    >>> with Embedder("demo-s") as embedder:
    ...     queries = embedder.encode_query(["how do plants eat light?"])
    ...     documents = embedder.encode_document(["Photosynthesis turns light into sugar.", "A recipe for soup."])
    ...     bool((queries @ documents.T).argmax() == 0)
    True
    """

    kind = "embedding"

    @property
    def dimension(self) -> int:
        """Of full-size vectors."""
        return self._loaded.checkpoint.config.hidden_size

    @property
    def fingerprint(self) -> Fingerprint:
        """The space of full-size vectors; `.at(dim)` of cut ones."""
        return self._loaded.fingerprint

    def encode_query(
        self, texts: str | Sequence[str], *, instruction: str | None = None, dim: int | None = None, progress: bool = False
    ) -> NDArray[np.float32]:
        """Vectors of queries, with the model's own default instruction unless another is given.

        `instruction` is the task in English, e.g. "Given a claim, find documents that refute it". Returns float32
        (n, dim), or (dim,) for one string: unit vectors, cut to `dim` (32 up to the model's dimension) if given.
        Raises InvalidInput (empty text, dimension), TextTooLong, NonFiniteVector.
        """
        return self._encode(texts, "query", instruction, dim, progress)

    def encode_document(
        self, texts: str | Sequence[str], *, dim: int | None = None, progress: bool = False
    ) -> NDArray[np.float32]:
        """Vectors of documents: raw text, no instruction. Shapes and errors as `encode_query`."""
        return self._encode(texts, "document", None, dim, progress)

    def encode(
        self, texts: str | Sequence[str], *, instruction: str | None = None, dim: int | None = None, progress: bool = False
    ) -> NDArray[np.float32]:
        """Vectors for symmetric work (similarity, clustering, classification): the same `instruction` on every side.

        Without one the raw text is embedded. Shapes and errors as `encode_query`.
        """
        return self._encode(texts, None, instruction, dim, progress)

    def _encode(
        self,
        texts: str | Sequence[str],
        input_type: Literal["query", "document"] | None,
        instruction: str | None,
        dim: int | None,
        progress: bool,
    ) -> NDArray[np.float32]:
        if isinstance(texts, str):
            return self._encode([texts], input_type, instruction, dim, progress)[0]  # type: ignore[no-any-return]
        for index, text in enumerate(texts):
            if not isinstance(text, str) or not text:
                what = "an empty string" if text == "" else f"a {type(text).__name__}, not a string"
                raise InvalidInput(f"texts[{index}] is {what}.", param="texts", index=index)
        requests = (
            EmbedRequest(texts[i : i + CALL], input_type, instruction, dim, self._truncation, Lane.BULK)
            for i in range(0, max(len(texts), 1), CALL)
        )
        return np.concatenate([r.values for r in self._run(requests, len(texts), progress)])


class Ranked(NamedTuple):
    """One document of a ranking."""

    index: int
    """Its place in the documents given."""
    score: float
    """Probability of "yes", 0 to 1."""
    document: str


class Reranker(_Local):
    """Scores of documents for a query, by the family's yes/no template."""

    kind = "reranker"

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
        requests = (
            RerankRequest(query, documents[i : i + CALL], instruction, self._truncation, lane=Lane.BULK)
            for i in range(0, max(len(documents), 1), CALL)
        )
        return np.concatenate([r.values for r in self._run(requests, len(documents), progress)])

    def rank(
        self, query: str, documents: Sequence[str], instruction: str | None = None, top_n: int | None = None
    ) -> list[Ranked]:
        """The documents, best first, at most `top_n` of them."""
        scores = self.score(query, documents, instruction)
        order = np.argsort(-scores, kind="stable")[:top_n]
        return [Ranked(int(i), float(scores[i]), documents[i]) for i in order]
