"""State: what an index is set to, in one file that is replaced as a whole. Its `active` is the pointer.

`index.json` is not derived from anything, unlike all else in an index's folder but the journal.
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
"""The n-th takes a state of schema n, counted from 1, to schema n + 1."""

MOST_DEPTH = 1000
"""Documents that a stage looks at."""
KEEP_BYTES = 1 << 50
"""Of vectors that a search's larger model makes: 1 PiB, and exact in every JSON reader."""

GenerationId = Annotated[str, msgspec.Meta(pattern=r"\Ag[0-9]{1,18}\Z")]
Key = Annotated[str, msgspec.Meta(pattern=r"\A[0-9a-f]{1,32}\Z")]
Name = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z][A-Za-z0-9_-]{0,39}\Z")]
"""Parts of a table's name, which is a folder's name too: a state from elsewhere must not lead out of its own
folder."""

Phase = Literal["backfill", "paused", "switched", "rolled back"]


class Generation(msgspec.Struct, frozen=True):
    """A set of vectors of one fingerprint: which model makes them, and how."""

    id: GenerationId
    model: str
    """A folder, a hub id, or a demo name."""
    dtype: str
    max_length: int
    fingerprint: Fingerprint
    """Of the vectors, at their dimension."""
    coarse: int | None = None
    created: str = ""
    former_fingerprint: str = ""
    """Its fingerprint's id when that was of samples of the weights: vectors under it are still taken for queries."""

    @property
    def dimension(self) -> int:
        """Of the vectors."""
        return self.fingerprint.dimension


class Rerank(msgspec.Struct, frozen=True):
    """L1: a reranker reorders the first `depth`."""

    model: str
    depth: int = 20


class Rescore(msgspec.Struct, frozen=True):
    """L2: a generation that is not filled scores the first `depth`, and keeps the vectors that it makes."""

    generation: str
    depth: int = 50
    keep_bytes: int = 1 << 30


class Move(msgspec.Struct, frozen=True):
    """The way from one generation to another."""

    source: str
    target: str
    phase: Phase
    started: str
    shadow: float = 0.05
    """Share of the searches that are asked of the other generation too, for comparison only."""
    canary: float = 0.0
    """Share of the searches that are answered by the target before the switch."""
    verdict: dict[str, Any] | None = None
    """Of the last comparison on labelled queries."""


class State(msgspec.Struct, frozen=True):
    """An index's settings. A change makes a new one."""

    schema: int
    name: Name
    key: Key
    """Drawn when it was made: no other index's tables are called like its, wherever they share a store."""
    created: str
    store: str
    generations: tuple[Generation, ...]
    active: str
    next_generation: int = 2
    truncate: bool = False
    instruction: str | None = None
    """Of queries, where not the model's own default."""
    rerank: Rerank | None = None
    rescore: Rescore | None = None
    funnel: int | None = None
    """Candidates by coarse vectors, where the generation has some."""
    move: Move | None = None

    def generation(self, wanted: str) -> Generation:
        """By its id; Refused where it is not there."""
        for generation in self.generations:
            if generation.id == wanted:
                return generation
        raise Refused(
            f"The index {self.name!r} has no generation {wanted!r}: {', '.join(g.id for g in self.generations)}."
        )

    def table(self, generation: Generation) -> Table:
        """A generation's place in the store."""
        return Table(self.table_name(generation.id), generation.dimension, generation.coarse)

    def table_name(self, generation: str) -> str:
        """Of a generation's place in the store."""
        return f"{self.tables}{generation}"

    @property
    def tables(self) -> str:
        """With what the names of this index's tables begin."""
        return f"upsize_{self.name}_{self.key}_"

    @property
    def used(self) -> set[str]:
        """Ids of the generations that something needs."""
        ids = {self.active} | ({self.move.source, self.move.target} if self.move else set())
        return ids | ({self.rescore.generation} if self.rescore else set())

    @property
    def serving(self) -> Generation:
        """That which answers searches."""
        return self.generation(self.active)

    @property
    def filled(self) -> tuple[Generation, ...]:
        """Those that shall hold every document: the one that serves, and the other end of a move."""
        ids = {self.active}
        if self.move and self.move.phase != "paused":
            ids |= {self.move.source, self.move.target}
        return tuple(g for g in self.generations if g.id in ids)

    def replace(self, **changes: Any) -> State:
        """With changes."""
        return msgspec.structs.replace(self, **changes)


def now() -> str:
    """UTC, to the second."""
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def current_schema(migrations: Sequence[Callable[[dict[str, Any]], dict[str, Any]]] = MIGRATIONS) -> int:
    """What is written today."""
    return len(migrations) + 1


def read_state(folder: Path, migrations: Sequence[Callable[[dict[str, Any]], dict[str, Any]]] = MIGRATIONS) -> State:
    """The state of an index's folder. One of an older schema is brought up to date in memory; UpsizeError for one that
    a newer version wrote, or that is not readable."""
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
    """Numbers that an older version took and that no reply can hold, or that nothing can mean, brought to the nearest
    that can."""
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
    is a mistake of ours: AssertionError.
    """
    assert state.used <= {g.id for g in state.generations}, f"{state.used} of {state.generations}"
    path = folder / FILE
    with on_disk(path):  # a store's address may hold a password
        write_atomic(path, msgspec.json.format(msgspec.json.encode(state), indent=2) + b"\n", mode=0o600)


def describe(generation: Generation) -> Mapping[str, Any]:
    """For people and programs that ask for an index's status."""
    return {
        "id": generation.id,
        "model": generation.model,
        "dtype": generation.dtype,
        "dimension": generation.dimension,
        "coarse": generation.coarse,
        "fingerprint": generation.fingerprint.id,
        "created": generation.created,
    }
