"""Tokenising: threads that turn requests into ids a step at a time, so that none waits for another's text.

Models have turns in rotation. Within a model the request that has had least goes first: a short text passes a long one,
and long ones share. A request that was cancelled is dropped before its next step.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import count


@dataclass(order=True)
class _Task:
    """`done` characters of it are encoded; `order` is that of arrival."""

    done: int
    order: int
    steps: Iterator[int] = field(compare=False)
    drop: Callable[[], None] = field(compare=False)


class Rotation:
    """Which task has the next step. Not thread-safe."""

    def __init__(self) -> None:
        self._waiting: dict[str, list[_Task]] = {}
        """By model; a model whose turn it was stands last."""

    def put(self, model: str, task: _Task) -> None:
        """A task that waits for a step."""
        heapq.heappush(self._waiting.setdefault(model, []), task)

    def take(self) -> tuple[str, _Task] | None:
        """The next one, and its model."""
        if not self._waiting:
            return None
        model = next(iter(self._waiting))
        tasks = self._waiting.pop(model)
        task = heapq.heappop(tasks)
        if tasks:
            self._waiting[model] = tasks
        return model, task


class TokenizerThreads:
    """Threads that advance tasks. Thread-safe."""

    def __init__(self, threads: int, name: str) -> None:
        self._rotation, self._changed, self._closed = Rotation(), threading.Condition(), False
        self._order = count()
        self._threads = [threading.Thread(target=self._work, name=f"{name}-{i}", daemon=True) for i in range(threads)]
        for thread in self._threads:
            thread.start()

    def submit(self, model: str, steps: Iterator[int], drop: Callable[[], None]) -> None:
        """Advance `steps` to their end, each giving the characters that it took; `drop` is called instead if this is
        closed before. `steps` must not raise."""
        with self._changed:
            if not self._closed:
                self._rotation.put(model, _Task(0, next(self._order), steps, drop))
                self._changed.notify()
                return
        drop()

    def close(self) -> None:
        """Finish the steps under way, drop the rest, and end the threads."""
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
            del task  # while it waits for the next, a thread holds nobody's texts

    def _next(self) -> tuple[str, _Task] | None:
        with self._changed:
            while not self._closed:
                if (taken := self._rotation.take()) is not None:
                    return taken
                self._changed.wait()
        return None
