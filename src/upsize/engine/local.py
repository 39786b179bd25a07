"""LocalModel: an engine with one model, the base class of Embedder and Reranker."""

from __future__ import annotations

import weakref
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from contextlib import closing
from dataclasses import replace
from functools import partial
from os import PathLike
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray
from tqdm.auto import tqdm

from upsize.catalog import Kind
from upsize.compute import load_model
from upsize.engine.engine import Engine
from upsize.engine.request_encoding import encode_in_steps
from upsize.engine.submit_ahead import submit_ahead
from upsize.engine.types import UNLIMITED, Request, Result
from upsize.errors import InvalidInput, NonFiniteVector, TextTooLong
from upsize.fingerprint import Fingerprint
from upsize.model import HubOptions, Truncation
from upsize.model.incremental_encoding import finish

REQUEST_TEXTS = 64
"""Texts of one request to the engine."""


class LocalModel:
    """An engine with one model."""

    kind: Kind

    def __init__(
        self,
        model: str | PathLike[str],
        *,
        dtype: str = "auto",
        device: str = "auto",
        max_length: int | None = None,
        truncate: bool = False,
        hub: HubOptions = HubOptions(),
    ) -> None:
        """Load `model`: a folder, a hub id, or a demo name.

        `dtype` is "auto" (the checkpoint's own), "int8" (on a CPU), "fp8" (on a GPU), "float32", "bfloat16" or
        "float16"; `device` "auto", "cpu" or "cuda". Texts of more than `max_length` tokens (default: the
        model's maximum) raise TextTooLong, or are cut if `truncate`.

        Raises CheckpointError, HubError, InvalidInput, and UnsupportedModel for the other kind of model. In a process
        forked from this one every call raises ForkedProcess: load the model there, or start processes with
        `multiprocessing.get_context("spawn")`.
        """
        loaded = load_model(model, kind=self.kind, device=device, dtype=dtype, max_length=max_length, hub=hub)
        self._loaded, self._truncation = loaded, Truncation(truncate)
        self._engine = Engine({"model": loaded}, UNLIMITED)
        self._finalizer = weakref.finalize(self, self._engine.close)

    @property
    def dtype(self) -> str:
        """The precision of the weights in use."""
        return self._loaded.plan.precision

    @property
    def max_length(self) -> int:
        """Tokens of the longest text, instruction and end token included."""
        return self._loaded.plan.max_length

    @property
    def fingerprint(self) -> Fingerprint:
        """Identifies an embedder's full-size vectors (`.at(dim)` those that are cut), or a reranker's scores."""
        return self._loaded.fingerprint

    def close(self) -> None:
        """Stop the engine's threads. The end of `with` and the garbage collector do this too."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, requests: Iterable[Request]) -> Iterator[Result]:
        """Results in order. A bounded number of texts is in flight, so memory does not grow with `requests`."""
        done = 0
        with closing(submit_ahead(partial(self._engine.submit, "model"), requests)) as futures:
            for future in futures:
                result = _answer(future, done)
                done += len(result.values)
                yield result

    def _values(self, requests: Iterable[Request], total: int, progress: bool) -> NDArray[np.float32]:
        """The values of all requests, concatenated."""
        parts = []
        with tqdm(total=total, unit="text", disable=not progress) as bar:
            for result in self._run(requests):
                bar.update(len(result.values))
                parts.append(result.values)
        return np.concatenate(parts)

    def _count(self, request: Request) -> list[int]:
        """Tokens of each sequence of `request` without truncation."""
        steps = encode_in_steps(self._loaded, replace(request, truncation=Truncation(True)), whole=True)
        return [len(e.ids) + e.truncated_tokens for e in finish(steps)]


def _answer(future: Future[Result], done: int) -> Result:
    """Wait for the result of one request. The `index` of an error is shifted by the `done` texts before it."""
    try:
        return future.result()
    except TextTooLong as error:
        index = None if error.index is None else error.index + done
        raise TextTooLong(error.tokens, error.limit, param=error.param, index=index, at_least=error.at_least) from None
    except NonFiniteVector as error:
        indices = [i + done for i in error.indices]
        raise NonFiniteVector(error.index + done, error.precision, indices, error.found) from None
    except InvalidInput as error:
        if error.index is None:
            raise
        index = error.index + done
        message = str(error).replace(f"[{error.index}]", f"[{index}]", 1)
        raise InvalidInput(message, param=error.param, index=index) from None
