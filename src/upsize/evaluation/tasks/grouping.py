"""Which units are independent. Repeats count once; units that share a document or a text are resampled together.

Queries with the same relevant document are hard or easy together. Resampled one by one, 20 queries of each of 20
documents look like 400 observations, but tell hardly more than 20. So queries that share a relevant document form a
cluster: the connected components of that relation. Where this joins most of the units (a document that answers
everything, or long lists of relevant documents), two queries are joined only if a third, a half, or all of their
documents are the same.
"""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

Places = NDArray[np.int64]
Links = Sequence[Collection[Hashable]]
"""For each unit, what it may share with others: its relevant documents or its texts."""

OVERLAPS = (0.0, 1 / 3, 1 / 2, 1.0)
"""Jaccard similarity of two units' documents from which they are joined, tried in turn. 0: any common document."""
LARGEST = 1 / 4
"""Share of the units that one cluster may hold before the next overlap is tried. Chosen."""
HUB = 1 / 4
"""A document of more than this share of the units joins only units that have no other document. Chosen."""
MOST_COMPARED = 5_000_000
"""Documents of pairs of units that are compared at most. Beyond it only equal sets are joined. Chosen: some seconds."""


@dataclass(frozen=True)
class Grouping:
    """How units depend on each other."""

    repeats: Places | None = None
    """(units,) index of the first unit with the same texts. None: no text is repeated."""
    kept: Places | None = None
    """Indices of the distinct units by text and judgement. None: all are distinct."""
    clusters: tuple[str, ...] | None = None
    """(units,) the cluster of each unit. None: each unit is its own cluster."""
    notes: tuple[str, ...] = ()


def normalised(text: str) -> str:
    """The text without differences of case, width and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def grouping_of(
    texts: Sequence[tuple[str, ...]],
    judgements: Sequence[Hashable],
    links: Links | None,
    given: tuple[str, ...] | None,
    noun: str,
) -> Grouping:
    """The grouping by each unit's texts, its judgement, its links, and the clusters given by the data.

    `noun` is the plural name of the units.
    """
    notes = []
    first: dict[tuple[str, ...], int] = {}
    repeats = np.array([first.setdefault(tuple(map(normalised, row)), i) for i, row in enumerate(texts)], np.int64)
    once: dict[tuple[int, Hashable], int] = {}
    for place, key in enumerate(zip(repeats.tolist(), judgements, strict=True)):
        once.setdefault(key, place)
    kept = np.array(list(once.values()), np.int64)
    repeated = len(texts) - len(first)
    if repeated:
        notes.append(f"{repeated:,} of the {len(texts):,} {noun} repeat another's text; repeats count once.")
        if unlike := len(kept) - len(first):
            notes.append(f"{unlike:,} of the repeats are judged otherwise than the text they repeat: check the labels.")
    clusters = given
    if given is None and links is not None:
        groups, note = shared_groups([links[i] for i in first.values()], noun)
        notes += note
        if groups is not None:
            of_first = dict(zip(first.values(), groups.tolist(), strict=True))
            clusters = tuple(str(of_first[r]) for r in repeats.tolist())
    if clusters is None and len(kept) > len(first):
        clusters = tuple(map(str, repeats.tolist()))
    return Grouping(repeats if repeated else None, kept if len(kept) < len(texts) else None, clusters, tuple(notes))


def shared_groups(links: Links, noun: str) -> tuple[Places | None, list[str]]:
    """(units,) the cluster of each unit, or None where nothing is shared; and notes for the user."""
    units = len(links)
    documents = Counter(key for keys in links for key in set(keys))
    if not units or max(documents.values(), default=0) < 2:
        return None, []
    hubs = {key for key, count in documents.items() if count > HUB * units}
    groups = _joined([set(keys) - hubs or set(keys) for keys in links], OVERLAPS[0])
    every = [set(keys) for keys in links]
    for overlap in OVERLAPS[1:]:
        if _largest(groups) <= max(LARGEST * units, 2):
            break
        groups = _joined(every, overlap)
    return _with_notes(groups, noun, partly=bool(groups.max() > _joined(every, OVERLAPS[0]).max()))


def _with_notes(groups: Places, noun: str, partly: bool) -> tuple[Places | None, list[str]]:
    """The clusters and a note. `partly`: some units share documents without being in one cluster."""
    count = int(groups.max()) + 1
    what = "texts" if noun == "pairs" else "documents"
    rest = f" More {noun} share {what} than these groups join; if they are hard together, intervals are too narrow."
    if count == len(groups):
        return None, [f"The {noun} share {what}, but each has others too; they are resampled one by one.{rest}"]
    if count == 1:
        return groups, [
            f"The {len(groups):,} {noun} all share {what} and are one group, which is too few to judge by "
            "(--field cluster=NAME names other groups)."
        ]
    note = (
        f"The {len(groups):,} {noun} share {what} and are resampled in {count:,} groups, the largest of "
        f"{_largest(groups):,} (--field cluster=NAME names others)."
    )
    return groups, [note + rest * partly]


def _largest(groups: Places) -> int:
    return int(np.bincount(groups).max())


def _joined(links: Sequence[set[Hashable]], overlap: float) -> Places:
    """(units,) connected components of the units whose documents overlap by at least `overlap`."""
    if overlap >= 1 or (overlap > 0 and _compared(links) > MOST_COMPARED):
        numbers: dict[frozenset[Hashable], int] = {}
        sets = (frozenset(keys or {("", place)}) for place, keys in enumerate(links))
        return np.array([numbers.setdefault(keys, len(numbers)) for keys in sets])
    edges = list(_edges(links, overlap))
    rows, columns = np.array(edges, np.int64).reshape(-1, 2).T
    graph = coo_array((np.ones(len(edges), np.int8), (rows, columns)), shape=(len(links), len(links)))
    return connected_components(graph, directed=False)[1].astype(np.int64)


def _holders(links: Sequence[set[Hashable]]) -> Mapping[Hashable, list[int]]:
    holders: dict[Hashable, list[int]] = defaultdict(list)
    for unit, keys in enumerate(links):
        for key in keys:
            holders[key].append(unit)
    return holders


def _compared(links: Sequence[set[Hashable]]) -> int:
    return sum(len(units) * sum(len(links[unit]) for unit in units) // 2 for units in _holders(links).values())


def _edges(links: Sequence[set[Hashable]], overlap: float) -> Iterator[tuple[int, int]]:
    for units in _holders(links).values():
        if overlap == 0:
            yield from pairwise(units)
            continue
        for place, one in enumerate(units):
            for other in units[place + 1 :]:
                common = len(links[one] & links[other])
                if common >= overlap * (len(links[one]) + len(links[other]) - common) - 1e-9:
                    yield one, other
