"""Every error that upsize raises on purpose.

    UpsizeError
    ├── CheckpointError          a file of a checkpoint is wrong: file, expected, found
    │   ├── UnsupportedModel     a checkpoint of another architecture, or of an unknown kind
    │   └── WeightsDamaged       packed weights that changed while they are served
    ├── HubError                 a hub could not deliver a model
    ├── UnusableProxy            an environment variable names an unusable proxy
    ├── InvalidInput             a request that can never succeed unchanged (param, index)
    │   ├── RequestTooLarge      more texts or tokens than a request may have
    │   ├── TextTooLong          more tokens than the model takes
    │   └── InvalidDimension     a dimension that this model does not give
    ├── UnknownModel             this service has no model of that name
    ├── NonFiniteVector          the network computed NaN, infinity, or only zeros
    ├── OutOfMemory              the device has too little memory
    ├── Overloaded               the queue is full: retry after `retry_after` seconds
    ├── ForkedProcess            a model was loaded before a fork of the process
    ├── Unavailable              the service is starting or draining
    ├── FingerprintMismatch      two vector spaces that cannot be compared
    ├── JournalDamaged           a journal file changed after it was written: file, position
    ├── JournalFailed            the disk did not accept an entry of the journal
    ├── DiskFull                 the disk is full, or an index is open read-only
    ├── JournalLocked            another process has the index open for writing
    ├── UnknownIndex             there is no index of that name
    ├── UnknownDocument          an index has no document of that id
    ├── Refused                  the state of an index does not allow the operation
    ├── StoreUnavailable         the store does not answer
    ├── StoreFull                the store has no space
    ├── RowsRefused              the store never accepts these rows: ids
    ├── StoreDamaged             vectors cannot be read; the journal can rebuild them
    └── MissingExtra             an optional dependency is missing

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
    """The root of the tree: catch it to catch every error that upsize raises on purpose."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Support pickling: the fields hold the constructor's arguments, `args` only the message."""
        return _restored, (type(self), self.args, self.__dict__)


def _restored(kind: type[UpsizeError], args: tuple[Any, ...], fields: dict[str, Any]) -> UpsizeError:
    error = kind.__new__(kind, *args)
    error.__dict__.update(fields)
    return error


class CheckpointError(UpsizeError):
    """A file of a checkpoint is not what upsize expects."""

    def __init__(self, path: Path | str, expected: str, found: str, hint: str = "") -> None:
        self.path, self.expected, self.found, self.hint = Path(path), expected, found, hint
        super().__init__(f"{path}: expected {expected}; found {found}." + (f" {hint}" if hint else ""))


class UnsupportedModel(CheckpointError):
    """The checkpoint is readable, but it is not a Qwen3 embedder or reranker."""


class WeightsDamaged(CheckpointError):
    """A packed file changed while its weights are served. The model stops reading it."""


class HubError(UpsizeError):
    """A hub could not deliver a model, and its cache does not have it."""


class UnusableProxy(UpsizeError):
    """An environment variable names a proxy that cannot be used. The message names the variable."""


class InvalidInput(UpsizeError):
    """A request that can never succeed unchanged. `index` is the position of the offending item in the request."""

    def __init__(self, message: str, *, param: str | None = None, index: int | None = None) -> None:
        self.param, self.index = param, index
        super().__init__(message)


class RequestTooLarge(InvalidInput):
    """A request has more texts, or more tokens in all, than allowed. Smaller requests would succeed."""


class TextTooLong(InvalidInput):
    """A text has `tokens` tokens (with `at_least`: that many or more), and the model takes `limit`."""

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
    """The model does not give the dimension that the request asks for."""

    def __init__(self, asked: object, smallest: int, largest: int) -> None:
        super().__init__(
            f"dimensions is {asked!r}; this model gives any whole number from {smallest} to {largest}.",
            param="dimensions",
        )


class UnknownModel(UpsizeError):
    """This service has no model of that name."""

    def __init__(self, name: str, served: list[str], need: str = "") -> None:
        self.name, self.param = name, "model"
        known = ", ".join(served) or "none"
        super().__init__(f"The model {name!r} {need or 'is not served here'}. Served: {known}.")


class NonFiniteVector(UpsizeError):
    """The network computed a vector without a direction: NaN, infinity, or only zeros.

    `indices` are the positions of all such texts in the request, `index` the first. `found` says what the vector holds.
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
    """A batch did not fit into the device's memory, even alone."""

    def __init__(self, tokens: int, device: str) -> None:
        super().__init__(
            f"A batch of {tokens} tokens did not fit into the memory of {device}. "
            "Lower --max-prefill-tokens or --context-length, or serve a smaller model."
        )


class Overloaded(UpsizeError):
    """The queue is full: its `queued_tokens` take about `seconds`. Retry after `retry_after` seconds."""

    def __init__(self, queued_tokens: int, seconds: float, retry_after: float) -> None:
        self.retry_after = retry_after
        super().__init__(
            f"The queue holds {queued_tokens} tokens, of which this request would wait for about {seconds:.0f} "
            f"seconds, and takes no more. Try again in {math.ceil(retry_after)} seconds: then there is room for it."
        )


class ForkedProcess(UpsizeError):
    """The model was loaded in a process from which this process was forked."""

    def __init__(self, made: int, here: int) -> None:
        super().__init__(
            f"This model was loaded in process {made}, and process {here} was forked from it: threads do not survive "
            "a fork. Load it in the new process, or start processes without forking: "
            "multiprocessing.get_context('spawn') or 'forkserver'."
        )


class Unavailable(UpsizeError):
    """The service is starting or draining."""


class FingerprintMismatch(UpsizeError):
    """Two vector spaces that cannot be compared. The message names both and what differs."""


class JournalDamaged(UpsizeError):
    """A journal file changed after it was written. `at_end`: a crash during a write can explain it."""

    def __init__(self, path: Path, position: int, finding: str, *, at_end: bool = False) -> None:
        self.path, self.position, self.at_end = path, position, at_end
        super().__init__(
            f"{path} is damaged at byte {position}: {finding}. Nothing was changed. Restore the file from a backup; "
            "what comes before that byte is whole."
        )


class JournalFailed(UpsizeError):
    """The disk did not accept an entry of the journal."""

    def __init__(self, folder: Path, why: str, hint: str) -> None:
        super().__init__(f"{folder}: the entry was not written: {why}. {hint}")


class DiskFull(UpsizeError):
    """The disk does not accept a write of an index."""

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
    """There is no index of that name."""

    def __init__(self, name: str, known: list[str], where: Path) -> None:
        self.name, self.param = name, "name"
        there = f"There: {', '.join(known)}." if known else f"Make it: upsize index create {name} --model demo-m."
        super().__init__(f"No index {name!r} in {where}. {there}")


class UnknownDocument(UpsizeError):
    """An index has no document of that id."""

    def __init__(self, id: str, index: str) -> None:
        self.id, self.param = id, "id"
        super().__init__(f"No document {id!r} in the index {index!r}.")


class Refused(UpsizeError):
    """The state of an index does not allow the operation. The message says what has to happen first."""


class StoreUnavailable(UpsizeError):
    """An index's store does not answer."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(f"{where} does not answer: {why}. Nothing that was acknowledged is lost; try again.")


class StoreFull(UpsizeError):
    """An index's store has no space."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            f"{where} is full: {why}. Free some space; the journal keeps what was acknowledged, "
            "and upsize writes it to the store by itself."
        )


class RowsRefused(UpsizeError):
    """A store never accepts these rows; `ids` are their documents. The other rows are written."""

    def __init__(self, ids: list[str], why: str) -> None:
        self.ids, self.why = ids, why
        some = ", ".join(map(repr, ids[:3])) + (f" and {len(ids) - 3:,} more" if len(ids) > 3 else "")
        super().__init__(f"{some}: {why}")


class StoreDamaged(UpsizeError):
    """A generation's table cannot be read or written."""

    def __init__(self, where: str, why: str) -> None:
        super().__init__(
            f"{where} cannot be used: {why.rstrip('.')}. The texts are safe in the journal: "
            "`upsize index rebuild NAME` rebuilds the vectors."
        )


class MissingExtra(UpsizeError):
    """An optional dependency is missing."""

    def __init__(self, what: str, package: str, extra: str) -> None:
        super().__init__(f"{what} needs the package {package!r}: pip install 'upsize[{extra}]'.")
