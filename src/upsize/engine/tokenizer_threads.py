"""Threads that tokenise requests a step at a time, so that no request waits for another's long text.

Models take turns. Within a model, the request with the fewest tokenised characters goes first: a short text passes a
long one, and long ones share the threads. A cancelled request is dropped before its next step.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count


@dataclass(order=True)
class TokenizerTask:
    """`done` counts the characters that are tokenised; `order` is that of arrival."""

    done: int
    order: int
    steps: Iterator[int] = field(compare=False)
    drop: Callable[[], None] = field(compare=False)


class Rotation:
    """Chooses the task that takes the next step. Not thread-safe."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[TokenizerTask]] = {}
        """Heaps by model. The model of the last step stands last."""

    def put(self, model: str, task: TokenizerTask) -> None:
        """Add a task that waits for its next step."""
        heapq.heappush(self._waiting.setdefault(model, []), task)

    def take(self) -> tuple[str, TokenizerTask] | None:
        """Remove the task of the next step; returns it with its model, or None."""
        if not self._waiting:
            return None
        model = next(iter(self._waiting))
        tasks = self._waiting.pop(model)
        task = heapq.heappop(tasks)
        if tasks:
            self._waiting[model] = tasks
        return model, task


class TokenizerThreads:
    """A pool of threads that advance generators step by step. Thread-safe."""

    def __init__(self, threads: int, name: str) -> None:
        self._rotation, self._changed, self._closed = Rotation(), threading.Condition(), False
        self._order = count()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, model: str, steps: Iterator[int], drop: Callable[[], None]) -> None:
        """Advance `steps` to its end. Each step yields the characters that it tokenised.

        `steps` must not raise. If the pool is closed before the end, `drop` is called instead.
        """
        with self._changed:
            if not self._closed:
                self._rotation.put(model, TokenizerTask(0, next(self._order), steps, drop))
                self._changed.notify()
                return
        drop()

    def close(self) -> None:
        """Finish the steps that run, drop all tasks, and end the threads."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()
        while (taken := self._rotation.take()) is not None:
            taken[1].drop()

    def _work(self) -> None:
        while (taken := self._next()) is not None:
            model, task = taken
            taken = None
            characters = next(task.steps, None)
            if characters is not None:
                task.done += characters
                with self._changed:
                    self._rotation.put(model, task)
            del task  # an idle thread must not keep texts alive

    def _next(self) -> tuple[str, TokenizerTask] | None:
        with self._changed:
            while not self._closed:
                if (taken := self._rotation.take()) is not None:
                    return taken
                self._changed.wait()
        return None
