"""A table's vectors in memory, for exact scans.

A scan of 50,000 vectors of 256 values reads 51 MB: 5 ms of products, where a reader of files needs ten times that.
Blocks are immutable. A write replaces the blocks that it changes, so a scan in flight sees the table as it was, without
a lock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from upsize.store.base import Hit, Table, Vectors

ROWS = 1024
"""Rows of a block: a write of one row copies one block. Chosen."""


@dataclass(frozen=True)
class Block:
    """Up to ROWS rows."""

    ids: Sequence[str]
    numbers: NDArray[np.int64]
    vectors: Vectors
    """(rows, dimension)."""
    scale: Vectors | None
    """(rows,): 1 over the length of each coarse vector; None if the table has no coarse vectors."""


@dataclass
class Resident:
    """One table's rows. One writer at a time; any number of readers."""

    table: Table
    _blocks: tuple[Block, ...] = ()
    _place: dict[str, int] = field(default_factory=dict)
    """Id → its block."""

    def upsert(self, ids: Sequence[str], numbers: Sequence[int], vectors: Vectors) -> None:
        """Insert rows, or replace those with the same ids."""
        blocks = self._without(ids)
        new = Block(list(ids), np.asarray(numbers, np.int64), np.array(vectors, np.float32), self._scale(vectors))
        if blocks and len(blocks[-1].ids) + len(ids) <= ROWS:
            blocks[-1] = _joined(blocks[-1], new)
        else:
            blocks.append(new)
        for id in ids:
            self._place[id] = len(blocks) - 1
        self._set(blocks)

    def delete(self, ids: Iterable[str]) -> None:
        """Delete rows. Unknown ids are ignored."""
        self._set(self._without(ids))

    def search(self, query: Vectors, k: int, coarse: int | None = None) -> list[Hit]:
        """Return the `k` nearest by inner product, best first. See Store.search."""
        blocks = [b for b in self._blocks if len(b.ids)]
        if not blocks:
            return []
        width = len(query)
        if width == self.table.coarse:
            return _hits(blocks, *_best(_scores(blocks, query, width), k))
        seen = self.table.coarse or 0
        length = np.linalg.norm(query[:seen])
        if coarse is None or not length:  # a vector may be zeros alone as far as the coarse search would see it
            return _hits(blocks, *_best(_scores(blocks, query, width), k))
        near, _ = _best(_scores(blocks, query[:seen] / length, seen), max(coarse, k))
        edges = _edges(blocks)
        places = [(int(np.searchsorted(edges, p, "right")) - 1, p) for p in near.tolist()]
        whole = np.array([blocks[b].vectors[p - edges[b]] @ query for b, p in places], np.float32)
        order = np.argsort(-whole, kind="stable")[:k]
        return _hits(blocks, near[order], whole[order])

    @property
    def nbytes(self) -> int:
        """Bytes of the vectors."""
        return sum(block.vectors.nbytes for block in self._blocks)

    def _scale(self, vectors: Vectors) -> Vectors | None:
        if not self.table.coarse:
            return None
        lengths = np.linalg.norm(vectors[:, : self.table.coarse], axis=1)
        scale: Vectors = (1 / np.maximum(lengths, 1e-12)).astype(np.float32)
        return scale

    def _without(self, ids: Iterable[str]) -> list[Block]:
        blocks = list(self._blocks)
        gone: dict[int, set[str]] = {}
        for id in ids:
            if (place := self._place.pop(id, None)) is not None:
                gone.setdefault(place, set()).add(id)
        for place, dropped in gone.items():
            block = blocks[place]
            keep = [i for i, id in enumerate(block.ids) if id not in dropped]
            scale = None if block.scale is None else block.scale[keep]
            blocks[place] = Block([block.ids[i] for i in keep], block.numbers[keep], block.vectors[keep], scale)
        return blocks

    def _set(self, blocks: list[Block]) -> None:
        """Replace the blocks. If half of them are nearly empty, repack them first."""
        rows = len(self._place)
        if len(blocks) > 16 and len(blocks) > 4 * (rows // ROWS + 1):
            blocks = list(_packed(blocks))
            self._place = {id: i for i, block in enumerate(blocks) for id in block.ids}
        self._blocks = tuple(blocks)


def _joined(first: Block, second: Block) -> Block:
    scale = None if first.scale is None or second.scale is None else np.concatenate([first.scale, second.scale])
    return Block(
        [*first.ids, *second.ids],
        np.concatenate([first.numbers, second.numbers]),
        np.concatenate([first.vectors, second.vectors]),
        scale,
    )


def _packed(blocks: Iterable[Block]) -> Iterable[Block]:
    pending: Block | None = None
    for block in blocks:
        if pending is None:
            pending = block
        elif len(pending.ids) + len(block.ids) <= ROWS:
            pending = _joined(pending, block)
        else:
            yield pending
            pending = block
    if pending is not None:
        yield pending


def _scores(blocks: Sequence[Block], query: Vectors, width: int) -> Vectors:
    """Scores (rows,) of all blocks in order."""
    parts = []
    for block in blocks:
        if width == block.vectors.shape[1]:
            parts.append(block.vectors @ query)
        else:
            assert block.scale is not None  # the table has coarse vectors
            parts.append((block.vectors[:, :width] @ query) * block.scale)
    scores: Vectors = np.concatenate(parts)
    return scores


def _best(scores: Vectors, k: int) -> tuple[NDArray[np.intp], Vectors]:
    """Places and scores of the `k` greatest, best first."""
    k = min(k, len(scores))
    some = np.argpartition(-scores, k - 1)[:k]
    order = some[np.argsort(-scores[some], kind="stable")]
    return order, scores[order]


def _edges(blocks: Sequence[Block]) -> NDArray[np.int64]:
    """(blocks + 1,): the first row of each block."""
    return np.concatenate([[0], np.cumsum([len(block.ids) for block in blocks])])


def _hits(blocks: Sequence[Block], places: NDArray[np.intp], scores: Vectors) -> list[Hit]:
    edges = _edges(blocks)
    which = np.searchsorted(edges, places, "right") - 1
    return [
        Hit(blocks[b].ids[p - edges[b]], int(blocks[b].numbers[p - edges[b]]), float(score))
        for b, p, score in zip(which.tolist(), places.tolist(), scores, strict=True)
    ]
