"""Every error that upsize raises on purpose.

    UpsizeError
    ├── CheckpointError          a checkpoint folder is not what it should be: file, expectation, finding
    │   ├── UnsupportedModel     a checkpoint of another architecture, or of a kind that cannot be told
    │   └── WeightsDamaged       packed weights that were cut or written to while they are served
    ├── HubError                 a model could not be fetched from a hub
    ├── UnusableProxy            a variable of the environment names a proxy that cannot be used
    ├── InvalidInput             a request that can never succeed as it is (param, index)
    │   ├── RequestTooLarge      more texts or tokens than one request may have
    │   ├── TextTooLong          more tokens than the model takes
    │   └── InvalidDimension     not a dimension of this model
    ├── UnknownModel             no model of that name is served here
    ├── NonFiniteVector          the network gave NaN, infinity, or zeros alone
    ├── OutOfMemory              the device's memory did not suffice
    ├── Overloaded               the queue is full: come back after `retry_after` seconds
    ├── ForkedProcess            a model was made in the process that this one was forked from
    ├── Unavailable              starting or draining
    ├── FingerprintMismatch      two vector spaces that cannot be compared
    ├── JournalDamaged           what an index rests on is not as it was written: file, position
    ├── JournalFailed            the disk did not take an entry
    ├── DiskFull                 the disk takes nothing more of an index, or it is open for reading only
    ├── JournalLocked            another process has the index open for writing
    ├── UnknownIndex             no index of that name is here
    ├── UnknownDocument          an index holds no document of that id
    ├── Refused                  not now: an index is not in the state that this needs
    ├── StoreUnavailable         where vectors lie does not answer
    ├── StoreFull                where vectors lie takes no more
    ├── RowsRefused              rows that a store will never take: ids
    ├── StoreDamaged             vectors cannot be read; they can be made again from the journal
    └── MissingExtra             an optional dependency is needed for this

A message says what happened, where, and what to do.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

__all__ = [
    "CheckpointError",
    "DiskFull",
    "FingerprintMismatch",
    "ForkedProcess",
    "HubError",
    "InvalidDimension",
    "InvalidInput",
    "JournalDamaged",
    "JournalFailed",
    "JournalLocked",
    "MissingExtra",
    "NonFiniteVector",
    "OutOfMemory",
    "Overloaded",
    "Refused",
    "RequestTooLarge",
    "RowsRefused",
    "StoreDamaged",
    "StoreFull",
    "StoreUnavailable",
    "TextTooLong",
    "Unavailable",
    "UnknownDocument",
    "UnknownIndex",
    "UnknownModel",
    "UnsupportedModel",
    "UnusableProxy",
    "UpsizeError",
    "WeightsDamaged",
]


class UpsizeError(Exception):
    """The root of the tree: catch this to catch everything that upsize raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """So that it passes between processes: what an error was made of is in its fields, not in its message."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[UpsizeError], args: tuple[Any, ...], fields: dict[str, Any]) -> UpsizeError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class CheckpointError(UpsizeError):
    """A checkpoint's file is not what it should be."""

    def __init__(self, path: Path | str, expected: str, found: str, hint: str = "") -> None:
        self.path, self.expected, self.found, self.hint = Path(path), expected, found, hint
        super().__init__(f"{path}: expected {expected}; found {found}." + (f" {hint}" if hint else ""))


class UnsupportedModel(CheckpointError):
    """The checkpoint is readable, but not a Qwen3 embedder or reranker."""


class WeightsDamaged(CheckpointError):
    """A packed file was cut or written to while its weights are served. They are not read any more."""


class HubError(UpsizeError):
    """A model could not be fetched from a hub, and is not in its cache."""


class UnusableProxy(UpsizeError):
    """A variable of the environment names a proxy that cannot be used. The message names the variable."""


class InvalidInput(UpsizeError):
    """A request that can never succeed as it is. `index` is the offending item's place in the request."""

    def __init__(self, message: str, *, param: str | None = None, index: int | None = None) -> None:
        self.param, self.index = param, index
        super().__init__(message)


class RequestTooLarge(InvalidInput):
    """A request has more texts, or tokens in all, than one may have. Its parts would be taken."""


class TextTooLong(InvalidInput):
    """A text has `tokens` tokens, or `at_least` so many, and the model takes `limit`."""

    ALLOW = (
        "Send a shorter text, or allow truncation "
        '(in a request "truncate": true, in Python truncate=True, for a whole server --allow-auto-truncate).'
    )

    def __init__(
        self,
        tokens: int,
        limit: int,
        *,
        param: str,
        index: int | None = None,
        hint: str = ALLOW,
        at_least: bool = False,
    ) -> None:
        self.tokens, self.limit, self.at_least = tokens, limit, at_least
        self.param: str
        where = param if index is None else f"{param}[{index}]"
        super().__init__(
            f"{where} has {'at least ' if at_least else ''}{tokens} tokens and this model takes {limit}. {hint}",
            param=param,
            index=index,
        )


class InvalidDimension(InvalidInput):
    """The dimension asked for is not one of this model's."""

    def __init__(self, asked: object, smallest: int, largest: int) -> None:
        super().__init__(
            f"dimensions is {asked!r}; this model gives any whole number from {smallest} to {largest}.",
            param="dimensions",
        )


class UnknownModel(UpsizeError):
    """No model of that name is served here."""

    def __init__(self, name: str, served: list[str], need: str = "") -> None:
        self.name, self.param = name, "model"
        known = ", ".join(served) or "none"
        super().__init__(f"The model {name!r} {need or 'is not served here'}. Served: {known}.")


class NonFiniteVector(UpsizeError):
    """The network gave a text a vector without a direction: NaN, infinity, or zeros alone.

    `indices`: every such text of the request, `index` the first. `found`: which of these it was.
    """

    def __init__(
        self, index: int, precision: str, indices: Sequence[int] = (), found: str = "NaN or infinite values"
    ) -> None:
        self.index, self.precision, self.found = index, precision, found
        self.indices = tuple(indices) or (index,)
        super().__init__(
            f"Text {index} gave {found} in {precision}. "
            "Serve this model with --dtype bfloat16 or --dtype float32, and report the text if that does not help."
        )


class OutOfMemory(UpsizeError):
    """One batch did not fit into the device's memory, even alone."""

    def __init__(self, tokens: int, device: str) -> None:
        super().__init__(
            f"A batch of {tokens} tokens did not fit into the memory of {device}. "
            "Lower --max-prefill-tokens or --context-length, or serve a smaller model."
        )


class Overloaded(UpsizeError):
    """There is no room in the queue, whose `queued_tokens` take about `seconds`; come back after `retry_after`."""

    def __init__(self, queued_tokens: int, seconds: float, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(
            f"The queue holds {queued_tokens} tokens, of which this request would wait for about {seconds:.0f} "
            f"seconds, and takes no more. Try again in {math.ceil(retry_after)} seconds: then there is room for it."
        )


class ForkedProcess(UpsizeError):
    """A model was made in the process that this one was forked from."""

    def __init__(self, made: int, here: int) -> None:
        super().__init__(
            f"This model was loaded in process {made}, and process {here} was forked from it: threads do not live on "
            "in a fork. Load it in the new process, or start processes without forking: "
            "multiprocessing.get_context('spawn') or 'forkserver'."
        )


class Unavailable(UpsizeError):
    """The service is starting or draining."""


class FingerprintMismatch(UpsizeError):
    """Two vector spaces that cannot be compared. The message names both and what differs."""


class JournalDamaged(UpsizeError):
    """A journal's file is not as it was written. `at_end`: so that a crash in the middle of a write explains it."""

    def __init__(self, path: Path, position: int, finding: str, *, at_end: bool = False) -> None:
        self.path, self.position, self.at_end = path, position, at_end
        super().__init__(
            f"{path} is damaged at byte {position}: {finding}. Nothing was changed. Restore the file from a backup; "
            "what comes before that byte is whole."
        )


class JournalFailed(UpsizeError):
    """A journal could not put an entry on disk."""

    def __init__(self, folder: Path, why: str, hint: str) -> None:
        super().__init__(f"{folder}: the entry was not written: {why}. {hint}")


class DiskFull(UpsizeError):
    """The disk does not take what an index has to keep."""

    def __init__(self, where: str, why: str, advice: str = "Free some space on that disk, and try again.") -> None:
        self.where, self.why = where, why
        super().__init__(f"{where} cannot be written: {why}. Nothing of this call was kept; searches go on. {advice}")


class JournalLocked(UpsizeError):
    """Another process has the journal open for writing."""

    def __init__(self, folder: Path) -> None:
        super().__init__(
            f"{folder} is being written by another process, a command or a service. Wait for it, or ask the service: "
            "--base-url URL."
        )


class UnknownIndex(UpsizeError):
    """No index of that name is here."""

    def __init__(self, name: str, known: list[str], where: Path) -> None:
        self.name, self.param = name, "name"
        there = f"There: {', '.join(known)}." if known else f"Make it: upsize index create {name} --model demo-m."
        super().__init__(f"No index {name!r} in {where}. {there}")


class UnknownDocument(UpsizeError):
    """An index holds no document of that id."""

    def __init__(self, id: str, index: str) -> None:
        self.id, self.param = id, "id"
        super().__init__(f"No document {id!r} in the index {index!r}.")


class Refused(UpsizeError):
    """What was asked does not fit the state that an index is in. The message says what would have to be first."""


class StoreUnavailable(UpsizeError):
    """Where an index's vectors lie does not answer."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} does not answer: {why}. Nothing that was acknowledged is lost; try again.")


class StoreFull(UpsizeError):
    """Where an index's vectors lie takes no more."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            f"{where} is full: {why}. Free some space; what was acknowledged is in the journal and comes in by itself."
        )


class RowsRefused(UpsizeError):
    """Rows that a store will never take as they are, by their documents' `ids`. Those written beside them are in."""

    def __init__(self, ids: list[str], why: str) -> None:
        self.ids, self.why = ids, why
        some = ", ".join(map(repr, ids[:3])) + (f" and {len(ids) - 3:,} more" if len(ids) > 3 else "")
        super().__init__(f"{some}: {why}")


class StoreDamaged(UpsizeError):
    """A generation's vectors cannot be read or written."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            f"{where} cannot be used: {why.rstrip('.')}. The texts are safe in the journal: "
            "`upsize index rebuild NAME` makes the vectors again."
        )


class MissingExtra(UpsizeError):
    """An optional dependency is needed for what was asked."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs the package {package!r}: pip install 'upsize[{extra}]'.")
