"""Pairing: sends the values of rows to the model, and pairs its results with the rows."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from itertools import chain
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from upsize.errors import InvalidInput, NonFiniteVector, OutOfMemory, TextTooLong, UpsizeError
from upsize.io import Source
from upsize.jobs.input_rows import InputRow
from upsize.jobs.survey import too_long

if TYPE_CHECKING:
    from upsize.engine import Result

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)

TOGETHER = 64
"""Rows that are retried when a request failed: the most that one request holds."""
ROW_ERRORS = (InvalidInput, NonFiniteVector, OutOfMemory)
"""Errors that one row can cause, on every attempt."""

LeftOut = Callable[[int, str], None]
"""Called with the line of a skipped row and the reason."""


class Computation(Protocol[T_contra]):
    """The model's computation for one row."""

    def size(self, value: T_contra) -> int:
        """Return how many sequences the value is to the model."""

    def stream(self, values: Iterator[T_contra]) -> Iterator[Result]:
        """Yield the model's results in order; each covers some whole values."""

    def columns(self, values: NDArray[np.float32]) -> dict[str, Any]:
        """Return the output columns of one value, from the model's values of its sequences."""


class Pairing(Generic[T]):
    """Sends values to the model and pairs its results with their rows. A few hundred rows are in flight.

    A row that the model cannot process raises an error with its file and line. With `left_out`, the pairing calls that
    instead, and goes on with the other rows.
    """

    def __init__(self, source: Source, work: Computation[T], left_out: LeftOut | None = None) -> None:
        self._source, self._work, self._left_out = source, work, left_out
        self._under_way: deque[tuple[InputRow[T], int]] = deque()
        self._given_out = 0

    def run(self, rows: Iterator[InputRow[T]]) -> Iterator[list[dict[str, Any]]]:
        """Yield results as columns, in order. Raises an error that names no row and affects all of the first rows."""
        any_result = False
        while True:
            self._given_out = 0
            try:
                for result in self._work.stream(self._feed(rows)):
                    any_result = True
                    yield list(self._columns(result))
                return
            except ROW_ERRORS as error:
                waiting = [row for row, _ in self._under_way]
                if self._left_out is None or not waiting:
                    raise self._named(error) from error
                failed = error
            self._under_way.clear()
            for results in self._apart(waiting[:TOGETHER], self._left_out):
                any_result = True
                yield results
            if not any_result and len(waiting) >= TOGETHER and not _indices(failed):
                raise failed
            rows = chain(waiting[TOGETHER:], rows)

    def _apart(self, rows: Sequence[InputRow[T]], left_out: LeftOut) -> Iterator[list[dict[str, Any]]]:
        """Compute these rows without the bad ones, which the error names or which bisection finds."""
        if not rows:
            return
        self._given_out = 0
        try:
            results = [c for result in self._work.stream(self._feed(iter(rows))) for c in self._columns(result)]
        except ROW_ERRORS as error:
            self._under_way.clear()
            bad = {place for index in _indices(error) if (place := self._place(rows, index)) is not None}
            if bad or len(rows) == 1:
                for place in sorted(bad or {0}):
                    left_out(rows[place].line, _reason(error))
                yield from self._apart([row for place, row in enumerate(rows) if place not in (bad or {0})], left_out)
            else:
                yield from self._apart(rows[: len(rows) // 2], left_out)
                yield from self._apart(rows[len(rows) // 2 :], left_out)
            return
        yield results

    def _feed(self, rows: Iterator[InputRow[T]]) -> Iterator[T]:
        for row in rows:
            if row.value is not None:
                self._under_way.append((row, self._work.size(row.value)))
                yield row.value

    def _columns(self, result: Result) -> Iterator[dict[str, Any]]:
        start = 0
        while start < len(result.values):
            row, size = self._under_way.popleft()
            part = slice(start, start + size)
            start += size
            yield {
                **({} if row.id is None else {"id": row.id}),
                "line": row.line,
                "tokens": sum(result.tokens[part]),
                "lost_tokens": sum(result.truncated_tokens[part]),
                **self._work.columns(result.values[part]),
            }
        self._given_out += start

    def _place(self, rows: Sequence[InputRow[T]], index: int) -> int | None:
        """The position of the row that a sequence belongs to."""
        passed = 0
        for place, row in enumerate(rows):
            passed += self._work.size(row.value) if row.value is not None else 0
            if index < passed:
                return place
        return None

    def _named(self, error: UpsizeError) -> UpsizeError:
        """Add the file and line of its row to an error; return it unchanged if no row is known."""
        rows = [row for row, _ in self._under_way]
        places = [self._place(rows, index - self._given_out) for index in _indices(error)[:1]]
        if isinstance(error, OutOfMemory) or not places or places[0] is None:
            return error
        where = f"{self._source.name}, {self._source.unit} {rows[places[0]].line}"
        if isinstance(error, NonFiniteVector):
            advice = "Try --dtype bfloat16 or --dtype float32, or leave the row out with --skip-bad."
            return UpsizeError(f"{where}: {_reason(error)}. {advice}")
        advice = " Cut it with --truncate." if isinstance(error, TextTooLong) else ""
        return InvalidInput(f"{where}: {_reason(error).rstrip('.')}.{advice}")


def _indices(error: UpsizeError) -> tuple[int, ...]:
    """Positions of the sequences that the error names, from the first one sent to the model."""
    if isinstance(error, NonFiniteVector):
        return error.indices
    index = error.index if isinstance(error, InvalidInput) else None
    return () if index is None else (index,)


def _reason(error: UpsizeError) -> str:
    if isinstance(error, NonFiniteVector):
        return f"{error.found} in {error.precision}"
    return too_long(error.tokens, error.limit) if isinstance(error, TextTooLong) else str(error)
