"""Engine: several models behind one door. Requests in, futures of results out."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from dataclasses import dataclass

import numpy as np

from upsize.compute import LoadedModel, run_to_end
from upsize.engine.model_queue import FIRST_TOKENS, ModelQueue
from upsize.engine.pending import Job
from upsize.engine.runner import Observer, Runner
from upsize.engine.types import EmbedRequest, Priority, Request, Result
from upsize.errors import CheckpointError, ForkedProcess, Overloaded, RequestTooLarge, Unavailable, UnknownModel


@dataclass(frozen=True)
class Limits:
    """What the engine holds at most before it says Overloaded."""

    queue_seconds: float = 30.0
    """That an interactive request may have to wait, by what is measured; a short one a third of it. Clients and
    proxies give up after 60 seconds, and the answer itself takes time."""
    requests: int = 4096
    """Requests inside, those being tokenised included."""
    request_inputs: float = 2048
    """Texts of one interactive request: OpenAI's own limit."""
    request_tokens: float = 1 << 20
    """Tokens of one interactive request, what stands around each text included: 2,048 texts of 512 tokens."""


UNLIMITED = Limits(queue_seconds=math.inf, request_inputs=math.inf, request_tokens=math.inf)
"""Of a program that waits for its own requests alone."""


class Engine:
    """Runs the given models, each under its name and with its own queue. Thread-safe."""

    def __init__(
        self, models: Mapping[str, LoadedModel], limits: Limits = Limits(), observer: Observer | None = None
    ) -> None:
        self._limits, self._process = limits, os.getpid()
        self._served = {name: ModelQueue(name, model, _first_rate(model)) for name, model in models.items()}
        self._threads = Runner(self._served, limits.queue_seconds, limits.request_tokens, observer)
        self._inside = 0
        self._idle = threading.Condition()
        self._draining = False

    @property
    def models(self) -> dict[str, LoadedModel]:
        """Name → model, in the order given."""
        return {name: served.model for name, served in list(self._served.items())}

    def add(self, name: str, model: LoadedModel) -> None:
        """Serve one more model from now on. CheckpointError if it does not give finite values."""
        self._require_process()
        served = ModelQueue(name, model, _first_rate(model))
        self._threads.add(served)  # which share the mapping

    def remove(self, name: str) -> None:
        """Serve this model no more; what waits for it is answered with Unavailable."""
        self._require_process()
        self._threads.remove(name)

    def submit(self, name: str, request: Request) -> Future[Result]:
        """Start a request on the model served as `name`.

        The future gets the Result, or an UpsizeError; cancel it and the work is dropped. Raises UnknownModel,
        Overloaded, Unavailable, ForkedProcess at once.
        """
        self._require_process()
        served = self._served.get(name)
        if served is None:
            raise UnknownModel(name, list(self._served))
        field, texts = (
            ("input", request.inputs) if isinstance(request, EmbedRequest) else ("documents", request.documents)
        )
        if len(texts) > self._limits.request_inputs and request.priority is Priority.INTERACTIVE:
            raise RequestTooLarge(
                f"{field} has {len(texts):,} texts, and a request may have {self._limits.request_inputs:,}. Send them "
                "in several calls; the server's setting is --max-client-batch-size.",
                param=field,
            )
        with self._idle:
            if self._draining:
                raise Unavailable("The engine is draining, or closed, and takes no new requests.")
            if self._inside >= self._limits.requests:
                seconds = served.tokens / served.tokens_per_second
                raise Overloaded(served.tokens, seconds, max(seconds, 1.0))
            self._inside += 1
        job = Job(request)
        job.future.add_done_callback(self._leave)
        return self._threads.submit(served, job)

    def throttle_bulk(self) -> AbstractContextManager[None]:
        """While this holds, bulk and shadow work leaves the machine to the caller, who computes beside the engine.

        It waits a tenth of a second at most at each of its pauses, so it never stands still.
        """
        self._require_process()
        return self._threads.throttle_bulk()

    def queue(self, name: str) -> tuple[int, int]:
        """(sequences, tokens) that wait for the model."""
        served = self._served[name]
        return served.sequences, served.tokens

    def tokens_per_second(self, name: str) -> float:
        """What the model does, measured on its last batches."""
        return self._served[name].tokens_per_second

    def drain(self, timeout: float | None = None) -> bool:
        """Take nothing new and wait until everything inside is answered; False if `timeout` seconds did not do."""
        self._require_process()
        with self._idle:
            self._draining = True
            return self._idle.wait_for(lambda: self._inside == 0, timeout)

    def close(self) -> None:
        """Stop. What still waits is answered with Unavailable. In a forked process nothing is left to stop."""
        if os.getpid() != self._process:
            return
        with self._idle:
            self._draining = True
        self._threads.close()

    def _require_process(self) -> None:
        """ForkedProcess where the threads are in another process, and locks perhaps held for ever."""
        if os.getpid() != self._process:
            raise ForkedProcess(self._process, os.getpid())

    def _leave(self, _: Future[Result]) -> None:
        with self._idle:
            self._inside -= 1
            self._idle.notify_all()


def _first_rate(model: LoadedModel) -> float:
    """Tokens per second of a small batch. CheckpointError where even that gives NaN, infinity, or zeros.

    The second of two is timed: the first wakes the device, and brings mapped weights in from disk.
    """
    ids = np.full(FIRST_TOKENS, model.checkpoint.tokenizer.end_id, np.int32)
    for _ in range(2):
        started = time.monotonic()
        values = run_to_end(model.run([ids]))
    seconds = max(time.monotonic() - started, 1e-6)
    finite = np.isfinite(values).all()
    if not finite or not values.any():
        raise CheckpointError(
            model.checkpoint.folder,
            f"weights that give finite values in {model.plan.precision}, and not zeros alone",
            f"{'zeros alone' if finite else 'NaN or infinite values'} for a first text",
            "Try --dtype float32; if that does not help, the weights are damaged: download them again.",
        )
    return len(ids) / seconds
