"""Embedder and Reranker: the engine for a Python program of its own, no server between."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import replace
from itertools import islice
from types import TracebackType
from typing import Literal, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from upsize.catalog import Kind
from upsize.compute import LoadedModel, plan, this_machine
from upsize.engine.engine import Engine, Limits
from upsize.engine.job import encode
from upsize.engine.nouns import EmbedRequest, Lane, Request, RerankRequest, Result
from upsize.errors import InvalidInput, NonFiniteVector, TextTooLong, UnsupportedModel
from upsize.model import (
    Checkpoint,
    EmbeddingPrompts,
    HubOptions,
    RerankPrompts,
    Truncation,
    locate,
    open_checkpoint,
    probability,
)
from upsize.space import Fingerprint

CALL = 64
"""Texts of one request to the engine."""
AHEAD = 256
"""Texts in the engine at once: enough that it never waits for the caller, few enough that memory stays small."""

InputType = Literal["query", "document"] | None


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
        if `truncate`. Raises CheckpointError, HubError, InvalidInput, and UnsupportedModel for the other kind of model.
        """
        checkpoint = open_checkpoint(locate(model, hub))
        _require(self.kind, checkpoint)
        machine = this_machine()
        derived = plan(checkpoint, machine, device=device, dtype=dtype, max_length=max_length)
        loaded = LoadedModel(checkpoint, derived, machine)
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

    @property
    def fingerprint(self) -> Fingerprint:
        """The space of an embedder's full-size vectors (`.at(dim)` of cut ones), or what shaped a reranker's scores."""
        return self._loaded.fingerprint

    def close(self) -> None:
        """Stop the engine's threads. Also done by `with`, and when the object is collected at exit."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, requests: Iterable[Request]) -> Iterator[Result]:
        """Results in order. `requests` is read only a little ahead, so that any number of texts needs little memory."""
        under_way: deque[tuple[Future[Result], int]] = deque()
        ahead = done = 0

        def next_result() -> Result:
            nonlocal ahead, done
            future, size = under_way[0]
            result = _answer(future, done)
            under_way.popleft()
            ahead, done = ahead - size, done + size
            return result

        try:
            for request in requests:
                size = len(request.inputs if isinstance(request, EmbedRequest) else request.documents)
                under_way.append((self._engine.submit("model", request), size))
                ahead += size
                while ahead > AHEAD:
                    yield next_result()
            while under_way:
                yield next_result()
        finally:
            for future, _ in under_way:
                future.cancel()

    def _values(self, requests: Iterable[Request], total: int, progress: bool) -> NDArray[np.float32]:
        """The values of all requests, one below the other."""
        parts = []
        with tqdm(total=total, unit="text", disable=not progress) as bar:
            for result in self._run(requests):
                bar.update(len(result.values))
                parts.append(result.values)
        return np.concatenate(parts)

    def _count(self, request: Request) -> list[int]:
        """Tokens of each sequence of `request` if nothing of it were cut."""
        return [len(e.ids) + e.lost for e in encode(self._loaded, replace(request, truncation=Truncation(True)))]


def _require(kind: Kind, checkpoint: Checkpoint) -> None:
    """Refuse an embedder where a reranker is wanted, and the other way round: read as the other it gives nonsense."""
    if checkpoint.kind == kind:
        return
    named = {"embedding": "an embedder", "reranker": "a reranker"}
    use = {"embedding": "Embedder (upsize embed)", "reranker": "Reranker (upsize rerank)"}
    raise UnsupportedModel(
        checkpoint.folder,
        named[kind],
        named[checkpoint.kind],
        f"Give {named[kind]} such as Qwen/Qwen3-{'Embedding' if kind == 'embedding' else 'Reranker'}-0.6B, "
        f"or use {use[checkpoint.kind]} with this one.",
    )


def _answer(future: Future[Result], done: int) -> Result:
    """Wait for one request's result; an error names the text's place among all texts, of which `done` came before."""
    try:
        return future.result()
    except TextTooLong as error:
        raise TextTooLong(error.tokens, error.limit, param=error.param, index=_shift(error.index, done)) from None
    except NonFiniteVector as error:
        raise NonFiniteVector(error.index + done, error.precision) from None
    except InvalidInput as error:
        if error.index is None:
            raise
        place = error.index + done
        message = str(error).replace(f"[{error.index}]", f"[{place}]", 1)
        raise InvalidInput(message, param=error.param, index=place) from None


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

    def prefix(self, input_type: InputType, instruction: str | None = None) -> str:
        """What is put before each text: the default or given instruction in the family's form, or nothing."""
        prompts = self._loaded.checkpoint.prompts
        assert isinstance(prompts, EmbeddingPrompts)  # an embedder's, see _require
        return prompts.prefix(input_type, instruction)

    def encode_query(
        self,
        texts: str | Sequence[str],
        *,
        instruction: str | None = None,
        dim: int | None = None,
        progress: bool = False,
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
        self,
        texts: str | Sequence[str],
        *,
        instruction: str | None = None,
        dim: int | None = None,
        progress: bool = False,
    ) -> NDArray[np.float32]:
        """Vectors for symmetric work (similarity, clustering, classification): the same `instruction` on every side.

        Without one the raw text is embedded. Shapes and errors as `encode_query`.
        """
        return self._encode(texts, None, instruction, dim, progress)

    def stream(
        self, texts: Iterable[str], input_type: InputType, *, instruction: str | None = None, dim: int | None = None
    ) -> Iterator[Result]:
        """Results of any number of texts, in order, each of the next 64 of them: vectors, tokens and tokens cut off.

        `texts` is read a few hundred ahead of what is given out. Arguments and errors as `encode_query`; an error's
        `index` counts all texts.
        """
        rest = iter(texts)
        chunks = iter(lambda: list(islice(rest, CALL)), [])
        return self._run(
            EmbedRequest(chunk, input_type, instruction, dim, self._truncation, Lane.BULK) for chunk in chunks
        )

    def count_tokens(
        self, texts: Sequence[str], input_type: InputType = None, *, instruction: str | None = None
    ) -> list[int]:
        """Tokens of each text as the network would see it uncut, instruction and end token included."""
        return self._count(EmbedRequest(texts, input_type, instruction))

    def _encode(
        self,
        texts: str | Sequence[str],
        input_type: InputType,
        instruction: str | None,
        dim: int | None,
        progress: bool,
    ) -> NDArray[np.float32]:
        if isinstance(texts, str):
            return self._encode([texts], input_type, instruction, dim, progress)[0]  # type: ignore[no-any-return]
        texts = list(texts)  # columns of numpy and pandas are sliced otherwise
        for index, text in enumerate(texts):
            if not isinstance(text, str) or not text:
                what = "an empty string" if text == "" else f"a {type(text).__name__}, not a string"
                raise InvalidInput(f"texts[{index}] is {what}.", param="texts", index=index)
        requests = (
            EmbedRequest(texts[i : i + CALL], input_type, instruction, dim, self._truncation, Lane.BULK)
            for i in range(0, max(len(texts), 1), CALL)
        )
        return self._values(requests, len(texts), progress)


class Ranked(NamedTuple):
    """One document of a ranking."""

    index: int  # type: ignore[assignment]  # a tuple has a method of that name
    """Its place in the documents given."""
    score: float
    """Probability of "yes", 0 to 1."""
    document: str


class Reranker(_Local):
    """Scores of documents for a query, by the family's yes/no template."""

    kind = "reranker"

    @property
    def instruction(self) -> str:
        """The checkpoint's default task."""
        prompts = self._loaded.checkpoint.prompts
        assert isinstance(prompts, RerankPrompts)  # a reranker's, see _require
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
        if isinstance(documents, str):
            raise InvalidInput("documents is one string; give a list of them.", param="documents")
        documents = list(documents)
        requests = (
            RerankRequest(query, documents[i : i + CALL], instruction, self._truncation, lane=Lane.BULK)
            for i in range(0, max(len(documents), 1), CALL)
        )
        return self._values(requests, len(documents), progress)

    def stream(self, rows: Iterable[tuple[str, Sequence[str]]], instruction: str | None = None) -> Iterator[Result]:
        """The Result of each (query, documents) row, in order: log-odds, tokens and tokens cut off of its documents.

        `rows` is read a few hundred documents ahead of what is given out. Errors as `score`; an error's `index`
        counts the documents of all rows.
        """
        return self._run(
            RerankRequest(query, documents, instruction, self._truncation, lane=Lane.BULK) for query, documents in rows
        )

    def count_tokens(self, query: str, documents: Sequence[str], instruction: str | None = None) -> list[int]:
        """Tokens of each pair as the network would see it uncut, template included; TextTooLong for the query's own."""
        return self._count(RerankRequest(query, documents, instruction))

    def rank(
        self, query: str, documents: Sequence[str], instruction: str | None = None, top_n: int | None = None
    ) -> list[Ranked]:
        """The documents, best first, at most `top_n` of them."""
        documents = list(documents)
        scores = self.score(query, documents, instruction)
        order = np.argsort(-scores, kind="stable")[:top_n]
        return [Ranked(int(i), float(scores[i]), documents[i]) for i in order]
