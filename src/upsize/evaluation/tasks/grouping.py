"""Which units are independent: repeats count once, and units that share a document or a text are resampled together.

Queries of one document are hard or easy together. Resampled one by one, 20 queries of each of 20 documents look like
400 observations and are nearer to 20. So queries that share a relevant document form a cluster, with all that share one
with these. Where that joins most of the units (a document that answers everything, or long lists of relevant
documents), only those are joined whose documents are the same for a third, for a half, or in all.
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
"""Of each unit, what it may share with others: its relevant documents, its texts."""

OVERLAPS = (0.0, 1 / 3, 1 / 2, 1.0)
"""Share of common documents (Jaccard) above or at which two units are joined; 0: any."""
LARGEST = 1 / 4
"""Share of the units that one cluster may hold before the next overlap is tried."""
HUB = 1 / 4
"""Share of the units beyond which a document that they share joins only those that have no other."""
MOST_COMPARED = 5_000_000
"""Documents of pairs of units that are compared for their overlap; beyond it, only equal sets are joined."""


@dataclass(frozen=True)
class Grouping:
    """How units depend on each other."""

    repeats: Places | None = None
    """(units,) place of the first unit with the same texts; None: no text is repeated."""
    kept: Places | None = None
    """Places of the units that are left where each text and judgement counts once; None: all."""
    clusters: tuple[str, ...] | None = None
    """(units,) what each is resampled with; None: nothing."""
    notes: tuple[str, ...] = ()


def normalised(text: str) -> str:
    """Without differences of case, width and white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def grouping_of(
    texts: Sequence[tuple[str, ...]],
    judgements: Sequence[Hashable],
    links: Links | None,
    told: tuple[str, ...] | None,
    noun: str,
) -> Grouping:
    """From each unit's texts, what was judged of it, what it shares, and the clusters that the data tells.

    `noun` is what units are called, in the plural.
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
        notes.append(f"{repeated:,} of the {len(texts):,} {noun} repeat another's text; repeats are weighted once.")
        if unlike := len(kept) - len(first):
            notes.append(f"{unlike:,} of the repeats are judged otherwise than the text they repeat: check the labels.")
    clusters = told
    if told is None and links is not None:
        groups, note = shared_groups([links[i] for i in first.values()], noun)
        notes += note
        if groups is not None:
            of_first = dict(zip(first.values(), groups.tolist(), strict=True))
            clusters = tuple(str(of_first[r]) for r in repeats.tolist())
    if clusters is None and len(kept) > len(first):
        clusters = tuple(map(str, repeats.tolist()))
    return Grouping(repeats if repeated else None, kept if len(kept) < len(texts) else None, clusters, tuple(notes))


def shared_groups(links: Links, noun: str) -> tuple[Places | None, list[str]]:
    """(units,) the cluster of each unit, None where nothing is shared, and what is said of it."""
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
    return _told(groups, noun, partly=bool(groups.max() > _joined(every, OVERLAPS[0]).max()))


def _told(groups: Places, noun: str, partly: bool) -> tuple[Places | None, list[str]]:
    """The clusters, and the note of them; `partly`: units share more than they are joined by."""
    count = int(groups.max()) + 1
    what = "texts" if noun == "pairs" else "documents"
    rest = f" More {noun} share {what} than are joined so; where they are hard together, intervals are too narrow."
    if count == len(groups):
        return None, [f"The {noun} share {what}, each a few of its own; they are resampled one by one.{rest}"]
    if count == 1:
        return groups, [
            f"The {len(groups):,} {noun} all share {what} and are one group, which is too few to judge by "
            "(--field cluster=NAME tells other groups)."
        ]
    note = (
        f"The {len(groups):,} {noun} share {what} and are resampled in {count:,} groups, the largest of "
        f"{_largest(groups):,} (--field cluster=NAME tells others)."
    )
    return groups, [note + rest * partly]


def _largest(groups: Places) -> int:
    return int(np.bincount(groups).max())


def _joined(links: Sequence[set[Hashable]], overlap: float) -> Places:
    """(units,) connected components of units whose documents overlap so much."""
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
