"""Runs a model over a file of any length, in order. The job checks the file first, and can be resumed at any point."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from itertools import islice
from typing import Any, Protocol, TypeVar

import typer

from upsize.errors import InvalidInput, UpsizeError
from upsize.fingerprint import Fingerprint
from upsize.jobs.input_rows import InputRows
from upsize.jobs.output_formats import OutputFormat
from upsize.jobs.pairing import Computation, Pairing
from upsize.jobs.partial_output import Partial
from upsize.jobs.survey import Survey, listing, survey
from upsize.progress import ProgressBar

T = TypeVar("T")
T_contra = TypeVar("T_contra", contravariant=True)


class FileComputation(Computation[T_contra], Protocol[T_contra]):
    """A computation from an input file to an output file."""

    @property
    def noun(self) -> str:
        """The plural noun for rows in messages, such as `texts`."""

    @property
    def fingerprint(self) -> Fingerprint:
        """The fingerprint of the model's results."""

    def settings(self) -> dict[str, str | int | None]:
        """Return further settings that shape the results."""

    def row_error(self, value: T_contra) -> str | None:
        """Return why the model cannot process the value; None if it can."""

    def encoding(self, suffix: str, found: Survey, facts: Mapping[str, Any]) -> OutputFormat:
        """Return the output format of a file with this suffix."""


def run(
    rows: InputRows[T], work: FileComputation[T], partial: Partial, *, model: str, skip_bad: bool, checkpoint: float
) -> None:
    """Check the input, compute the missing rows, write the output and its sidecar, and print a summary."""
    source, fingerprint = rows.source, work.fingerprint
    found = survey(rows, work.row_error, skip_bad=skip_bad)
    settings, digest = {**work.settings(), **rows.settings()}, source.digest()
    facts: dict[str, Any] = {
        "model": model,
        "fingerprint": {"id": fingerprint.id, **asdict(fingerprint)},
        **settings,
        "input": source.name,
        "input_sha256": digest,
    }
    encoding = work.encoding(partial.output.suffix.lower(), found, facts)
    job = {**asdict(fingerprint), **settings, "input": digest, "number of rows": found.rows}
    partial.begin(job, found.rows, encoding.header())
    speed = compute(rows, work, found, partial, encoding, checkpoint=checkpoint, skip_bad=skip_bad)
    truncated = partial.truncated
    skipped = dict(sorted({**found.skipped, **dict(partial.failed)}.items()))
    if not partial.committed.rows:
        partial.discard()
        raise InvalidInput(f"{source.name}: none of its rows can be computed:\n{listing(source, skipped)}")
    facts |= {
        "rows": partial.committed.rows,
        "skipped": [{"line": line, "reason": reason} for line, reason in skipped.items()],
        "tokens": partial.committed.tokens,
        "truncated": [{"line": line, "lost_tokens": tokens} for line, tokens in truncated],
    }
    size = partial.finish(encoding.build, facts)
    if skipped:
        typer.echo(f"{len(skipped):,} rows skipped, all of them listed in {partial.sidecar}:")
        typer.echo(listing(source, skipped))
    if truncated:
        tokens = sum(tokens for _, tokens in truncated)
        typer.echo(
            f"{len(truncated):,} rows lost {tokens:,} tokens to --truncate; {partial.sidecar} says which and how many."
        )
    typer.echo(f"{speed}, dimension {fingerprint.dimension}, fingerprint {fingerprint.id}")
    typer.echo(f"{partial.output}: {size:,} bytes")


def compute(
    rows: InputRows[T],
    work: FileComputation[T],
    found: Survey,
    partial: Partial,
    encoding: OutputFormat,
    *,
    checkpoint: float,
    skip_bad: bool,
) -> str:
    """Compute the rows that `partial` lacks, with a commit every `checkpoint` seconds; return a line on the speed.

    After an error or Ctrl-C it keeps the finished rows and prints how to resume.
    """
    source, noun, started, earlier = rows.source, work.noun, time.monotonic(), partial.committed
    out = {*found.skipped, *(line for line, _ in partial.failed)}
    good = islice((row for row in rows if row.line not in out), earlier.rows, None)
    failed: list[tuple[int, str]] = []

    def left_out(line: int, reason: str) -> None:
        failed.append((line, reason))

    def commit() -> None:
        if source.version() != found.version:
            raise InvalidInput(f"{source.name} changed while it was being read. Start over with --overwrite.")
        partial.commit()

    try:
        due = started + checkpoint
        with ProgressBar("computing", total=found.rows, initial=earlier.rows + earlier.failed, unit=noun) as bar:
            for results in Pairing(source, work, left_out if skip_bad else None).run(good):
                truncated = [(r["line"], r["lost_tokens"]) for r in results if r["lost_tokens"]]
                tokens = sum(r["tokens"] for r in results)
                partial.append(encoding.block(results), len(results), tokens, truncated, failed)
                bar.update(len(results) + len(failed))
                failed.clear()
                if time.monotonic() >= due:
                    commit()
                    due = time.monotonic() + checkpoint
        if failed:
            partial.append(b"", 0, 0, (), failed)
        commit()
    except BaseException as error:
        if source.version() == found.version:
            with suppress(UpsizeError):  # the disk may be full: the last commit stays
                partial.commit()
            stopped = "Interrupted: " if isinstance(error, KeyboardInterrupt) else ""
            kept = f"{partial.committed.rows:,} of {found.rows:,} {noun} are kept"
            on = f" in {partial.folder}; the same command resumes from there" if partial.committed.rows else ""
            typer.echo(f"{stopped}{kept}{on}.", err=True)
        if isinstance(error, KeyboardInterrupt):
            raise typer.Exit(130) from None
        raise
    done = partial.committed.rows
    seconds, new = max(time.monotonic() - started, 1e-6), done - earlier.rows
    tokens = partial.committed.tokens - earlier.tokens
    before = f" ({earlier.rows:,} of them by an earlier run)" if earlier.rows else ""
    rates = f"{new / seconds:,.0f} {noun} and {tokens / seconds:,.0f} tokens a second"
    return f"{done:,} {noun}{before} in {seconds:.1f} s, {rates}"
