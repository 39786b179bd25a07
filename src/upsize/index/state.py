"""State: the settings, generations and move of an index, in one file that is replaced as a whole.

`index.json` and the journal are the two originals in an index's folder; everything else is derived from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from upsize.errors import Refused, UpsizeError
from upsize.fingerprint import Fingerprint
from upsize.index.disk import on_disk
from upsize.io.atomic import write_atomic
from upsize.store import Table

FILE = "index.json"

MIGRATIONS: Sequence[Callable[[dict[str, Any]], dict[str, Any]]] = ()
"""Function n, counted from 1, converts a state of schema n to schema n + 1. None is needed so far."""

MOST_DEPTH = 1000
"""Documents that a stage of the cascade scores at most."""
KEEP_BYTES = 1 << 50
"""Largest `keep_bytes`: 1 PiB, which every JSON reader represents exactly."""

GenerationId = Annotated[str, msgspec.Meta(pattern=r"\Ag[0-9]{1,18}\Z")]
Key = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{1,32}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z][A-Za-z0-9_-]{0,39}\Z")]
"""Parts of a table's name, which is a folder's name too: a state from elsewhere must not lead out of its own
folder."""

Phase = Literal["backfill", "paused", "switched", "rolled back"]


class Generation(msgspec.Struct, frozen=True):
    """The vectors of one fingerprint: which model makes them, and how."""

    id: GenerationId
    model: str
    """A folder, a hub id, or a demo name."""
    dtype: str
    max_length: int
    fingerprint: Fingerprint
    """Fingerprint of the vectors, at their dimension."""
    coarse: int | None = None
    created: str = ""
    former_fingerprint: str = ""
    """Id of the fingerprint that an earlier version gave it; query vectors under it are still accepted."""

    @property
    def dimension(self) -> int:
        """Dimension of the vectors."""
        return self.fingerprint.dimension


class Rerank(msgspec.Struct, frozen=True):
    """Stage L1 of the cascade: a reranker reorders the first `depth` results."""

    model: str
    depth: int = 20


class Rescore(msgspec.Struct, frozen=True):
    """Stage L2 of the cascade: a larger model rescores the first `depth` results; its generation keeps the vectors."""

    generation: str
    depth: int = 50
    keep_bytes: int = 1 << 30


class Move(msgspec.Struct, frozen=True):
    """A move from one generation to another."""

    source: str
    target: str
    phase: Phase
    started: str
    shadow: float = 0.05
    """Share of the searches that the other generation answers too, as shadow reads."""
    canary: float = 0.0
    """Share of the searches that the target answers before the switch."""
    verdict: dict[str, Any] | None = None
    """Verdict of the last comparison on labelled queries."""


class State(msgspec.Struct, frozen=True):
    """Everything that index.json holds. Immutable: a change makes a new state."""

    schema: int
    name: Name
    key: Key
    """Random, so that no other index in the same store has tables of the same names."""
    created: str
    store: str
    generations: tuple[Generation, ...]
    active: str
    next_generation: int = 2
    truncate: bool = False
    instruction: str | None = None
    """Instruction of queries. None: the model's default."""
    rerank: Rerank | None = None
    rescore: Rescore | None = None
    funnel: int | None = None
    """Candidates by coarse vectors. None: no funnel."""
    move: Move | None = None

    def generation(self, wanted: str) -> Generation:
        """The generation with this id. Raises Refused where there is none."""
        for generation in self.generations:
            if generation.id == wanted:
                return generation
        raise Refused(
            f"The index {self.name!r} has no generation {wanted!r}: {', '.join(g.id for g in self.generations)}."
        )

    def table(self, generation: Generation) -> Table:
        """The table of a generation in the store."""
        return Table(self.table_name(generation.id), generation.dimension, generation.coarse)

    def table_name(self, generation: str) -> str:
        """Name of a generation's table in the store."""
        return f"{self.tables}{generation}"

    @property
    def tables(self) -> str:
        """Prefix of the names of this index's tables."""
        return f"upsize_{self.name}_{self.key}_"

    @property
    def used(self) -> set[str]:
        """Ids of the generations that the state refers to."""
        ids = {self.active} | ({self.move.source, self.move.target} if self.move else set())
        return ids | ({self.rescore.generation} if self.rescore else set())

    @property
    def serving(self) -> Generation:
        """The generation that answers searches."""
        return self.generation(self.active)

    @property
    def kept_current(self) -> tuple[Generation, ...]:
        """Generations that are kept up to date: the active one, and both of a move that is not paused."""
        ids = {self.active}
        if self.move and self.move.phase != "paused":
            ids |= {self.move.source, self.move.target}
        return tuple(g for g in self.generations if g.id in ids)

    def replace(self, **changes: Any) -> State:
        """A copy with changes."""
        return msgspec.structs.replace(self, **changes)


def now() -> str:
    """The time in UTC, to the second, as in index.json."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def current_schema(migrations: Sequence[Callable[[dict[str, Any]], dict[str, Any]]] = MIGRATIONS) -> int:
    """The schema that this version writes."""
    return len(migrations) + 1


def read_state(folder: Path, migrations: Sequence[Callable[[dict[str, Any]], dict[str, Any]]] = MIGRATIONS) -> State:
    """Read the state of an index's folder; an older schema is converted in memory. Raises UpsizeError for a newer
    schema and for an unreadable file."""
    path = folder / FILE
    try:
        raw = msgspec.json.decode(path.read_bytes())
        for migrate in migrations[raw["schema"] - 1 :]:
            raw = migrate(raw)
            raw["schema"] += 1
        if raw["schema"] != current_schema(migrations):
            raise UpsizeError(
                f"{path} has schema {raw['schema']}, and this version knows {current_schema(migrations)}. "
                "Use the version of upsize that wrote it, or a later one."
            )
        return _within_bounds(msgspec.convert(raw, State))
    except (msgspec.MsgspecError, KeyError, TypeError) as error:
        raise UpsizeError(f"{path} is not an index's state: {error}. Restore it from a backup.") from None


def _within_bounds(state: State) -> State:
    """Clamp numbers that an older version accepted and that are out of bounds today."""
    rerank, rescore, move = state.rerank, state.rescore, state.move
    if rerank:
        rerank = msgspec.structs.replace(rerank, depth=_clamp(rerank.depth, 1, MOST_DEPTH))
    if rescore:
        rescore = msgspec.structs.replace(
            rescore,
            depth=_clamp(rescore.depth, 1, MOST_DEPTH),
            keep_bytes=_clamp(rescore.keep_bytes, 0, KEEP_BYTES),
        )
    if move:
        move = msgspec.structs.replace(move, shadow=_clamp(move.shadow, 0.0, 1.0), canary=_clamp(move.canary, 0.0, 1.0))
    funnel = None if state.funnel is None else _clamp(state.funnel, 1, MOST_DEPTH)
    return state.replace(rerank=rerank, rescore=rescore, move=move, funnel=funnel)


N = TypeVar("N", int, float)


def _clamp(value: N, least: N, most: N) -> N:
    return min(max(value, least), most)


def write_state(folder: Path, state: State) -> None:
    """Replace the file: on return it is on disk, and at no moment is there anything but the old one or the new one.

    DiskFull where the disk does not take it, and the old one stays. A state that names a generation that is not there
    is a bug: AssertionError.
    """
    assert state.used <= {g.id for g in state.generations}, f"{state.used} of {state.generations}"
    path = folder / FILE
    with on_disk(path):  # a store's address may hold a password
        write_atomic(path, msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n", mode=0o600)


def describe(generation: Generation) -> Mapping[str, Any]:
    """Settings of a generation, as plain values for a status."""
    return {
        "id": generation.id,
        "model": generation.model,
        "dtype": generation.dtype,
        "dimension": generation.dimension,
        "coarse": generation.coarse,
        "fingerprint": generation.fingerprint.id,
        "created": generation.created,
    }
