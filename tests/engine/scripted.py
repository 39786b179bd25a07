"""A model whose batches a test steps through: what ran, in which order, is written down, not timed."""

from __future__ import annotations

import dataclasses
import threading
import time
from collections.abc import Callable, Generator, Sequence
from unittest.mock import patch

import numpy as np

from upsize.compute import LoadedModel
from upsize.engine import Engine, Limits
from upsize.engine.engine import warm_up
from upsize.engine.types import DEFAULT_LIMITS
from upsize.errors import OutOfMemory
from upsize.model.pooling import Vectors
from upsize.model.tokenizer import Ids

STEPS = 4


class Scripted:
    """Stands in for a LoadedModel: a batch is STEPS pauses, and a sequence's state counts up from its first id.

    `at_step(tokens, step)` is called on the engine's runner at every pause but those of the engine's own first batches.
    """

    def __init__(
        self,
        real: LoadedModel,
        *,
        budget: int = 512,
        memory: int = 1 << 30,
        at_step: Callable[[int, int], None] = lambda tokens, step: None,
        poison: int | None = None,
    ) -> None:
        self.checkpoint, self.fingerprint = real.checkpoint, real.fingerprint
        self.plan = dataclasses.replace(real.plan, budget=budget)
        self.memory, self.at_step, self.poison = memory, at_step, poison
        self.spared: list[tuple[int, bool]] = []
        """(tokens, whether a core was left to others) of each step."""
        self._spare = False
        self.events: list[tuple[str, tuple[int, ...]]] = []
        """("start" | "end" | "dropped", lengths) of each batch."""
        self._first = 2

    def spare_a_core(self, spare: bool) -> None:
        """As LoadedModel.spare_a_core."""
        self._spare = spare

    def run(self, sequences: Sequence[Ids]) -> Generator[bool, None, Vectors]:
        """As LoadedModel.run."""
        lengths = tuple(map(len, sequences))
        if self._first:  # the engine's own first batches
            self._first -= 1
            yield True
            return np.ones((1, 64), np.float32)
        self.events.append(("start", lengths))
        if sum(lengths) > self.memory:
            raise OutOfMemory(sum(lengths), "a small device")
        try:
            for step in range(STEPS):
                self.spared.append((sum(lengths), self._spare))
                self.at_step(sum(lengths), step)
                yield step == STEPS - 1
        except GeneratorExit:
            self.events.append(("dropped", lengths))
            raise
        self.events.append(("end", lengths))
        states = np.stack([np.arange(1, 65, dtype=np.float32) + ids[0] for ids in sequences])
        for row, ids in enumerate(sequences):
            if ids[0] == self.poison:
                states[row] = np.nan
        return states

    @property
    def starts(self) -> list[tuple[int, ...]]:
        """Lengths of the batches in the order in which they began."""
        return [lengths for event, lengths in self.events if event == "start"]


def wait_until(condition: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for what another thread is about to do; fail if it does not."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.001)


class Gate:
    """Holds the runner at the first pause of a batch of so many tokens, until a test opens it."""

    def __init__(self, tokens: int) -> None:
        self.tokens, self.reached, self.open = tokens, threading.Event(), threading.Event()

    def __call__(self, tokens: int, step: int) -> None:
        if tokens == self.tokens and step == 0:
            self.reached.set()
            assert self.open.wait(20), "nobody opened the gate"


def slow_engine(models: dict[str, Scripted], tokens_per_second: float, limits: Limits = DEFAULT_LIMITS) -> Engine:
    """An engine whose warm-up measures so low a rate for every model that deadlines lie well apart."""

    def warm_up_slowly(model: LoadedModel) -> float:
        warm_up(model)
        return tokens_per_second

    with patch("upsize.engine.engine.warm_up", warm_up_slowly):
        return Engine(models, limits)  # type: ignore[arg-type]
