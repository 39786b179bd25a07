"""Engine: requests to several models in, futures of results out.

`Engine.submit` checks a request and starts its tokenising. A tokenizer thread encodes and lints the texts and puts the
sequences into the `WorkQueue`. The `Runner` takes batches from there, runs them, and answers the futures.
"""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future
from contextlib import AbstractContextManager
from functools import partial

import numpy as np

from upsize.compute import LoadedModel, run_to_end
from upsize.engine.model_queue import WARM_UP_TOKENS, ModelQueue
from upsize.engine.pending import PendingRequest
from upsize.engine.request_encoding import characters, estimated_tokens, lint_findings
from upsize.engine.runner import Observer, Runner
from upsize.engine.tokenizer_threads import TokenizerThreads
from upsize.engine.types import DEFAULT_LIMITS, EmbedRequest, Limits, Priority, Request, Result
from upsize.engine.work_queue import WorkQueue, closed_error, removed_error
from upsize.errors import CheckpointError, ForkedProcess, Overloaded, RequestTooLarge
from upsize.model.incremental_encoding import Steps, finish
from upsize.model.input_lint import ADVICE

log = logging.getLogger("upsize.engine")

INLINE_CHARACTERS = 1000
"""Requests of at most so many characters are tokenised by the thread that submits them: this takes less time than to
wake another thread."""
MAX_TOKENIZER_THREADS = 4
"""Tokenizer threads of one priority. They only compete with the runner for cores, so few are enough."""


class Engine:
    """Runs the given models, each under its name. Thread-safe."""

    def __init__(
        self, models: Mapping[str, LoadedModel], limits: Limits = DEFAULT_LIMITS, observer: Observer | None = None
    ) -> None:
        self._limits, self._observer, self._process = limits, observer, os.getpid()
        self._queue = WorkQueue(limits)
        for name, model in models.items():
            self._queue.add(ModelQueue(name, model, warm_up(model)))
        threads = min(MAX_TOKENIZER_THREADS, os.cpu_count() or 1)
        self._tokenizers = {p: TokenizerThreads(threads, f"upsize-tokenize-{p.name}") for p in Priority}
        self._runner = Runner(self._queue, observer)
        self._logged_findings: set[str] = set()
        self._findings_lock = threading.Lock()

    @property
    def models(self) -> dict[str, LoadedModel]:
        """Name → model, in the order given."""
        return {name: model.loaded for name, model in self._queue.models().items()}

    @property
    def in_flight(self) -> int:
        """Requests that are being tokenised, wait or run."""
        return self._queue.in_flight

    @property
    def closed(self) -> bool:
        """Whether `close` was called."""
        return self._queue.closed

    def add(self, name: str, model: LoadedModel) -> None:
        """Serve one more model. CheckpointError if it does not give finite values."""
        self._require_process()
        self._queue.add(ModelQueue(name, model, warm_up(model)))

    def remove(self, name: str) -> None:
        """Stop serving a model. Its running batch is finished; requests that wait for it fail with Unavailable."""
        self._require_process()
        for pending in self._queue.remove(name):
            pending.fail(removed_error(name))

    def submit(self, name: str, request: Request) -> Future[Result]:
        """Start a request on the model `name`.

        The future gets the Result or an UpsizeError. Cancelling it drops the work. Raises UnknownModel,
        RequestTooLarge, Overloaded, Unavailable and ForkedProcess at once.
        """
        self._require_process()
        model = self._queue.model(name)
        self._require_size(request)
        self._queue.enter(model, request.priority)
        pending = PendingRequest(request)
        # The callback must not refer to `pending`: texts and vectors would wait for the cycle collector.
        pending.future.add_done_callback(partial(self._queue.leave, model))
        steps = self._tokenize(model, pending)
        if characters(request) <= INLINE_CHARACTERS:
            finish(steps)
            return pending.future
        try:
            self._queue.reserve(model, pending, estimated_tokens(request))
        except Overloaded as error:
            pending.fail(error)
        else:
            self._tokenizers[request.priority].submit(name, steps, lambda: pending.fail(closed_error()))
        return pending.future

    def throttle_bulk(self) -> AbstractContextManager[None]:
        """While the context is open, bulk and shadow work gives way to a caller that computes beside the engine.

        Bulk work waits at most 0.1 seconds at each yield point, so it never starves.
        """
        self._require_process()
        return self._queue.throttle_bulk()

    def queue(self, name: str) -> tuple[int, int]:
        """(sequences, tokens) that wait for a model."""
        model = self._queue.model(name)
        return model.sequences, model.tokens

    def tokens_per_second(self, name: str) -> float:
        """The throughput of a model, measured on its recent batches."""
        return self._queue.model(name).tokens_per_second

    def drain(self, timeout: float | None = None) -> bool:
        """Take no new requests and wait until all in flight are answered; False after `timeout` seconds."""
        self._require_process()
        return self._queue.drain(timeout)

    def close(self) -> None:
        """Finish the running batch, fail all other requests with Unavailable, and stop the threads.

        Does nothing in a forked process, which has no threads to stop.
        """
        if os.getpid() != self._process:
            return
        self._queue.close()
        for tokenizers in self._tokenizers.values():
            tokenizers.close()
        self._runner.join()
        for pending in self._queue.clear():
            pending.fail(closed_error())

    def _tokenize(self, model: ModelQueue, pending: PendingRequest) -> Steps[None]:
        """Encode, lint and queue a request, in steps. Errors become the request's answer."""
        interactive = pending.request.priority is Priority.INTERACTIVE
        try:
            if pending.future.done():
                return
            limit = self._limits.request_tokens if interactive else float("inf")
            for characters_done in pending.encode(model.loaded, limit):
                yield characters_done
                if pending.future.done():
                    return
            self._lint(model, pending)
            if pending.encoded:
                self._queue.put(model, pending)
            else:
                pending.succeed(model.loaded)
        except Exception as error:
            pending.fail(error)
        finally:
            self._queue.release(model, pending)

    def _lint(self, model: ModelQueue, pending: PendingRequest) -> None:
        """Count the lint findings of a request, and log each kind once."""
        pending.lint = tuple(sorted(set(lint_findings(model.loaded, pending.request))))
        for kind in pending.lint:
            if self._observer is not None:
                self._observer.lint_finding(model.name, kind)
            with self._findings_lock:
                new = kind not in self._logged_findings
                self._logged_findings.add(kind)
            if new:
                log.warning("%s: %s (logged once; counted in upsize_suspicious_inputs_total)", model.name, ADVICE[kind])

    def _require_size(self, request: Request) -> None:
        param, texts = (
            ("input", request.inputs) if isinstance(request, EmbedRequest) else ("documents", request.documents)
        )
        if len(texts) > self._limits.request_inputs and request.priority is Priority.INTERACTIVE:
            raise RequestTooLarge(
                f"{param} has {len(texts):,} texts, and a request may have {self._limits.request_inputs:,}. Send them "
                "in several calls; the server's setting is --max-client-batch-size.",
                param=param,
            )

    def _require_process(self) -> None:
        """ForkedProcess in a forked process: the threads are in its parent, and a lock may be held for ever."""
        if os.getpid() != self._process:
            raise ForkedProcess(self._process, os.getpid())


def warm_up(model: LoadedModel) -> float:
    """Run two small batches, and return the tokens per second of the second one.

    The first one wakes the device and reads mapped weights from disk. Raises CheckpointError where the model gives NaN,
    infinity, or only zeros.
    """
    ids = np.full(WARM_UP_TOKENS, model.checkpoint.tokenizer.end_id, np.int32)
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
