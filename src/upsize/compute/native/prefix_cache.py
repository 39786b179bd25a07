"""Prefixes: keys and values of beginnings that texts share, such as a query's instruction or a rerank prompt's query.

Attention looks backwards alone, so the keys and values of a text's first tokens are those of any other text that begins
with the same tokens. The second text that shares a beginning with a recent one leaves it behind; from the third on it
is not computed again. What was used longest ago is forgotten first.
"""

from __future__ import annotations

from collections import OrderedDict, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import ClassVar, TypeAlias

import numpy as np
from numpy.typing import NDArray

from upsize.model.config import ModelConfig

PREFIX_CACHE_BYTES = 48 << 20
"""Bytes of keys and values that are kept: of the 0.6B, 430 tokens."""
MIN_PREFIX = 8
"""Tokens. Less is not worth the copying."""
MAX_PREFIX = 512
RECENT_TEXTS = 32
"""Texts whose beginnings are compared with a new one's."""
MAX_PREFIXES = 128
"""Prefixes, at most: a small model's fit by the thousand, and looking through them would take longer than computing."""

Ids = NDArray[np.integer]


def kv_bytes_per_token(config: ModelConfig) -> int:
    """Of one token's keys and values in all layers."""
    return config.layers * config.kv_heads * config.head_dim * 4


def max_prefix_cache_bytes(config: ModelConfig) -> int:
    """What a network keeps at most."""
    return min(PREFIX_CACHE_BYTES, MAX_PREFIXES * MAX_PREFIX * kv_bytes_per_token(config))


@dataclass(frozen=True, eq=False)
class Prefix:
    """Some first tokens, and each layer's keys and values of them."""

    Layer: ClassVar[TypeAlias] = tuple[NDArray[np.uint16], NDArray[np.uint16]]
    ids: Ids
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class PrefixPlan:
    """What to do with one sequence: its first `shared` tokens come from `prefix`, its first `keep` are to be kept."""

    ids: Ids
    prefix: Prefix | None
    shared: int
    keep: int


class PrefixCache:
    """At most MAX_PREFIXES prefixes of `limit` bytes in all."""

    def __init__(self, limit: int, kv_bytes_per_token: int) -> None:
        self._longest = min(MAX_PREFIX, limit // kv_bytes_per_token)
        self._limit, self._token_bytes = limit, kv_bytes_per_token
        self._cached: OrderedDict[bytes, Prefix] = OrderedDict()
        """All tokens of a prefix → it; what was used longest ago first."""
        self._starts: defaultdict[bytes, set[bytes]] = defaultdict(set)
        """The first SHORTEST tokens → the keys in `_cached` of those that begin with them."""
        self._tokens = 0
        self._recent = np.full((RECENT_TEXTS, max(self._longest, 1)), -1, np.int32)
        self._next = 0

    def plan(self, sequences: Sequence[Ids]) -> list[PrefixPlan]:
        """What is remembered of each sequence, and what is worth remembering. The last token is always computed."""
        if self._longest < MIN_PREFIX:
            return [PrefixPlan(ids, None, 0, 0) for ids in sequences]
        plans: list[PrefixPlan] = []
        promised: set[bytes] = set()
        for ids in sequences:
            head = ids[: min(len(ids) - 1, self._longest)].astype(np.int32)
            prefix, shared = self._find(head)
            keep = self._shared_with_recent(head)
            name = head[:keep].tobytes()
            if keep < shared + MIN_PREFIX or name in promised:
                keep = 0
            else:
                promised.add(name)
            plans.append(PrefixPlan(ids, prefix, shared, keep))
        return plans

    def add(self, prefixes: Iterable[Prefix]) -> None:
        """Keep them, and forget what was used longest ago.

        One that is not finite is not kept: the text was bad that left it behind, and others must not see that.
        """
        for prefix in prefixes:
            if not all(_finite(array) for layer in prefix.layers for array in layer):
                continue
            name = prefix.ids.astype(np.int32).tobytes()
            if name not in self._cached:
                self._starts[_start(name)].add(name)
                self._tokens += len(prefix.ids)
            self._cached[name] = prefix
            while len(self._cached) > MAX_PREFIXES or self._tokens * self._token_bytes > self._limit:
                self._evict()

    def _evict(self) -> None:
        """What was used longest ago."""
        name, prefix = self._cached.popitem(last=False)
        same = self._starts[_start(name)]
        same.remove(name)
        if not same:
            del self._starts[_start(name)]
        self._tokens -= len(prefix.ids)

    def _find(self, head: NDArray[np.int32]) -> tuple[Prefix | None, int]:
        """The prefix kept that has most of `head`, and how much."""
        best, shared = None, MIN_PREFIX - 1
        for name in self._starts.get(_start(head.tobytes()), ()):
            length = _common(self._cached[name].ids, head)
            if length > shared:
                best, shared = name, length
        if best is None:
            return None, 0
        self._cached.move_to_end(best)
        return self._cached[best], shared

    def _shared_with_recent(self, head: NDArray[np.int32]) -> int:
        """The longest beginning that `head` shares with a recent one, which it joins."""
        differs = self._recent[:, : len(head)] != head
        if not len(head):
            return 0
        length = int(np.where(differs.any(1), differs.argmax(1), len(head)).max())
        self._recent[self._next] = -1
        self._recent[self._next, : len(head)] = head
        self._next = (self._next + 1) % RECENT_TEXTS
        return length


def _start(name: bytes) -> bytes:
    """Of its first SHORTEST tokens, int32 each; no prefix that is kept has fewer."""
    return name[: 4 * MIN_PREFIX]


def _finite(bits: NDArray[np.uint16]) -> bool:
    """Of bfloat16: not all eight bits of any exponent are set."""
    return not bool(((bits & 0x7F80) == 0x7F80).any())


def _common(a: Ids, b: Ids) -> int:
    n = min(len(a), len(b))
    differs = a[:n] != b[:n]
    return int(differs.argmax()) if differs.any() else n
