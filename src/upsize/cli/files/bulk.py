"""Bulk: a file of any length through a model, in order, checked before it starts and resumable at every point."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any, Generic, Protocol, TypeVar

import numpy as np
import typer
from numpy.typing import NDArray
from tqdm import tqdm

from upsize.cli.files.output import Encoding
from upsize.cli.files.partial import Partial
from upsize.cli.files.rows import Row, Rows
from upsize.cli.files.survey import Survey, listing, survey, too_long
from upsize.errors import InvalidInput, NonFiniteVector, TextTooLong, UpsizeError
from upsize.io import Source
from upsize.space import Fingerprint

if TYPE_CHECKING:
    from upsize.engine import Result

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class Computation(Protocol[T_contra]):
    """What the model makes of each row's value."""

    def size(self, value: T_contra) -> int:
        """How many sequences it is to the model."""

    def stream(self, values: Iterator[T_contra]) -> Iterator[Result]:
        """The model's results, in order, each of some whole values."""

    def columns(self, values: NDArray[np.float32]) -> dict[str, Any]:
        """What the output holds of one value, given the model's values of its sequences."""


class Work(Computation[T_contra], Protocol[T_contra]):
    """A computation over a whole file into another."""

    @property
    def noun(self) -> str:
        """What the rows are called."""

    @property
    def fingerprint(self) -> Fingerprint:
        """Of what the model gives."""

    def settings(self) -> dict[str, str | int | None]:
        """What else shapes the results."""

    def fault(self, value: T_contra) -> str | None:
        """Why the model cannot take the value; None where it can."""

    def encoding(self, suffix: str, found: Survey, facts: Mapping[str, Any]) -> Encoding:
        """How the results become a file of this suffix."""


def run(rows: Rows[T], work: Work[T], partial: Partial, *, model: str, skip_bad: bool, checkpoint: float) -> None:
    """Survey the input, compute what is missing, make the output and its sidecar, and say what was done."""
    source, fingerprint = rows.source, work.fingerprint
    found = survey(rows, work.fault, skip_bad=skip_bad)
    settings, digest = {**work.settings(), **rows.settings()}, source.digest()
    facts = {
        "model": model,
        "fingerprint": {"id": fingerprint.id, **asdict(fingerprint)},
        **settings,
        "input": source.name,
        "input_sha256": digest,
        "rows": found.rows,
        "skipped": [{"line": line, "reason": reason} for line, reason in found.skipped.items()],
    }
    encoding = work.encoding(partial.output.suffix.lower(), found, facts)
    job = {**asdict(fingerprint), **settings, "input": digest, "number of rows": found.rows}
    partial.begin(job, found.rows, encoding.header())
    speed = compute(rows, work, found, partial, encoding, checkpoint=checkpoint)
    lost = partial.lost
    facts |= {
        "tokens": partial.committed.tokens,
        "truncated": [{"line": line, "lost_tokens": tokens} for line, tokens in lost],
    }
    size = partial.finish(encoding.build, facts)
    if found.skipped:
        typer.echo(f"{len(found.skipped):,} rows skipped, all of them listed in {partial.sidecar}:")
        typer.echo(listing(source, found.skipped))
    if lost:
        tokens = sum(tokens for _, tokens in lost)
        typer.echo(
            f"{len(lost):,} rows lost {tokens:,} tokens to --truncate; {partial.sidecar} says which and how many."
        )
    typer.echo(f"{speed}, dimension {fingerprint.dimension}, fingerprint {fingerprint.id}")
    typer.echo(f"{partial.output}: {size:,} bytes")


class Pairing(Generic[T]):
    """Feeds values to the model and brings its results back to their rows, a few hundred of which are under way."""

    def __init__(self, source: Source, work: Computation[T]) -> None:
        self._source, self._work = source, work
        self._under_way: deque[tuple[Row[T], int]] = deque()
        self._given_out = 0

    def run(self, rows: Iterator[Row[T]]) -> Iterator[list[dict[str, Any]]]:
        """Results as columns, in order. What goes wrong with one row names its file and line."""
        try:
            for result in self._work.stream(self._feed(rows)):
                yield list(self._columns(result))
        except NonFiniteVector as error:
            where = self._where(error.index)
            advice = "Try --dtype bfloat16 or --dtype float32."
            raise UpsizeError(f"{where}: NaN or infinite values in {error.precision}. {advice}") from error
        except TextTooLong as error:
            where = self._where(error.index or 0)
            raise InvalidInput(f"{where}: {too_long(error.tokens, error.limit)}. Cut it with --truncate.") from error

    def _feed(self, rows: Iterator[Row[T]]) -> Iterator[T]:
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
                "lost_tokens": sum(result.lost[part]),
                **self._work.columns(result.values[part]),
            }
        self._given_out += start

    def _where(self, index: int) -> str:
        passed = self._given_out
        for row, size in self._under_way:
            passed += size
            if index < passed:
                return f"{self._source.name}, {self._source.unit} {row.line}"
        return self._source.name


def compute(
    rows: Rows[T], work: Work[T], found: Survey, partial: Partial, encoding: Encoding, *, checkpoint: float
) -> str:
    """Compute what `partial` does not hold yet, putting it on disk every `checkpoint` seconds; a line on the speed.

    Stopped by an error or by Ctrl-C, it keeps what it has and says how to go on.
    """
    source, noun, started, earlier = rows.source, work.noun, time.monotonic(), partial.committed
    good = islice((row for row in rows if row.line not in found.skipped), earlier.rows, None)

    def commit() -> None:
        if source.version() != found.version:
            raise InvalidInput(f"{source.name} changed while it was being read. Start over with --overwrite.")
        partial.commit()

    try:
        due = started + checkpoint
        with tqdm(total=found.rows, initial=earlier.rows, unit=f" {noun}", disable=None) as bar:
            for results in Pairing(source, work).run(good):
                lost = [(r["line"], r["lost_tokens"]) for r in results if r["lost_tokens"]]
                partial.append(encoding.block(results), len(results), sum(r["tokens"] for r in results), lost)
                bar.update(len(results))
                if time.monotonic() >= due:
                    commit()
                    due = time.monotonic() + checkpoint
        commit()
    except BaseException as error:
        if source.version() == found.version:
            with suppress(UpsizeError):  # the disk may be full; then what was committed before is what is kept
                partial.commit()
            stopped = "Interrupted: " if isinstance(error, KeyboardInterrupt) else ""
            kept = f"{partial.committed.rows:,} of {found.rows:,} {noun} are kept"
            on = f" in {partial.folder}; the same command goes on from there" if partial.committed.rows else ""
            typer.echo(f"{stopped}{kept}{on}.", err=True)
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(130) from None
        raise
    seconds, new = max(time.monotonic() - started, 1e-6), found.rows - earlier.rows
    tokens = partial.committed.tokens - earlier.tokens
    before = f" ({earlier.rows:,} of them by an earlier run)" if earlier.rows else ""
    rates = f"{new / seconds:,.0f} {noun} and {tokens / seconds:,.0f} tokens a second"
    return f"{found.rows:,} {noun}{before} in {seconds:.1f} s, {rates}"
