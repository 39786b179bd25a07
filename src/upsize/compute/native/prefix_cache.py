"""The prefix cache: keys and values of prefixes that texts share, such as an instruction or a rerank prompt's query.

Attention is causal, so the keys and values of a prefix are the same in every text that begins with it. The second text
that shares a prefix with a recent one stores it; from the third one on it is a hit. The least recently used prefix is
evicted first.
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
"""Bytes of keys and values that the cache holds: 430 tokens of the 0.6B model."""
MIN_PREFIX = 8
"""Tokens of the shortest prefix. Copying a shorter one costs more than it saves."""
MAX_PREFIX = 512
"""Tokens of the longest prefix, which bounds what a lookup compares."""
RECENT_TEXTS = 32
"""Recent texts with which a lookup compares a new text's prefix."""
MAX_PREFIXES = 128
"""Prefixes, at most. Thousands of a small model would fit, but comparing them would take longer than computing them."""

Ids = NDArray[np.integer]


def kv_bytes_per_token(config: ModelConfig) -> int:
    """Bytes of one token's keys and values in all layers."""
    return config.layers * config.kv_heads * config.head_dim * 4


def max_prefix_cache_bytes(config: ModelConfig) -> int:
    """Bytes that a network's cache holds at most."""
    return min(PREFIX_CACHE_BYTES, MAX_PREFIXES * MAX_PREFIX * kv_bytes_per_token(config))


@dataclass(frozen=True, eq=False)
class Prefix:
    """The token ids of a prefix, and its keys and values in each layer."""

    Layer: ClassVar[TypeAlias] = tuple[NDArray[np.uint16], NDArray[np.uint16]]
    ids: Ids
    layers: tuple[Layer, ...]


@dataclass(frozen=True)
class PrefixLookup:
    """The first `hit_tokens` tokens of a sequence come from `prefix`; the batch stores its first `store_tokens`."""

    ids: Ids
    prefix: Prefix | None
    hit_tokens: int
    store_tokens: int


class PrefixCache:
    """At most MAX_PREFIXES prefixes of `limit` bytes in all."""

    def __init__(self, limit: int, kv_bytes_per_token: int) -> None:
        self._longest = min(MAX_PREFIX, limit // kv_bytes_per_token)
        self._limit, self._token_bytes = limit, kv_bytes_per_token
        self._cached: OrderedDict[bytes, Prefix] = OrderedDict()
        """A prefix's token ids, int32 → the prefix; the least recently used one first."""
        self._starts: defaultdict[bytes, set[bytes]] = defaultdict(set)
        """The first MIN_PREFIX token ids → the keys in `_cached` that begin with them."""
        self._tokens = 0
        self._recent = np.full((RECENT_TEXTS, max(self._longest, 1)), -1, np.int32)
        self._next = 0

    def lookup(self, sequences: Sequence[Ids]) -> list[PrefixLookup]:
        """The longest cached prefix of each sequence, and the prefix that it shall store. A hit never includes a
        sequence's last token, which is always computed."""
        if self._longest < MIN_PREFIX:
            return [PrefixLookup(ids, None, 0, 0) for ids in sequences]
        lookups: list[PrefixLookup] = []
        storing: set[bytes] = set()
        for ids in sequences:
            head = ids[: min(len(ids) - 1, self._longest)].astype(np.int32)
            prefix, hit_tokens = self._find(head)
            store_tokens = self._shared_with_recent(head)
            key = head[:store_tokens].tobytes()
            if store_tokens < hit_tokens + MIN_PREFIX or key in storing:
                store_tokens = 0
            else:
                storing.add(key)
            lookups.append(PrefixLookup(ids, prefix, hit_tokens, store_tokens))
        return lookups

    def add(self, prefixes: Iterable[Prefix]) -> None:
        """Store prefixes, and evict the least recently used ones where the cache is full.

        A prefix with values that are not finite is dropped: it would spoil the other texts that begin with it.
        """
        for prefix in prefixes:
            if not all(_finite(array) for layer in prefix.layers for array in layer):
                continue
            key = prefix.ids.astype(np.int32).tobytes()
            if key not in self._cached:
                self._starts[_start(key)].add(key)
                self._tokens += len(prefix.ids)
            self._cached[key] = prefix
            while len(self._cached) > MAX_PREFIXES or self._tokens * self._token_bytes > self._limit:
                self._evict()

    def _evict(self) -> None:
        key, prefix = self._cached.popitem(last=False)
        same = self._starts[_start(key)]
        same.remove(key)
        if not same:
            del self._starts[_start(key)]
        self._tokens -= len(prefix.ids)

    def _find(self, head: NDArray[np.int32]) -> tuple[Prefix | None, int]:
        """The cached prefix that shares the most tokens with `head`, and their number."""
        best, hit_tokens = None, MIN_PREFIX - 1
        for key in self._starts.get(_start(head.tobytes()), ()):
            length = _common(self._cached[key].ids, head)
            if length > hit_tokens:
                best, hit_tokens = key, length
        if best is None:
            return None, 0
        self._cached.move_to_end(best)
        return self._cached[best], hit_tokens

    def _shared_with_recent(self, head: NDArray[np.int32]) -> int:
        """Tokens of the longest prefix that `head` shares with a recent text. Adds `head` to the recent texts."""
        differs = self._recent[:, : len(head)] != head
        if not len(head):
            return 0
        length = int(np.where(differs.any(1), differs.argmax(1), len(head)).max())
        self._recent[self._next] = -1
        self._recent[self._next, : len(head)] = head
        self._next = (self._next + 1) % RECENT_TEXTS
        return length


def _start(key: bytes) -> bytes:
    """The bytes of the first MIN_PREFIX token ids, int32; every cached prefix has as many."""
    return key[: 4 * MIN_PREFIX]


def _finite(bits: NDArray[np.uint16]) -> bool:
    """Whether bfloat16 values are finite: no exponent has all eight bits set."""
    return not bool(((bits & 0x7F80) == 0x7F80).any())


def _common(a: Ids, b: Ids) -> int:
    n = min(len(a), len(b))
    differs = a[:n] != b[:n]
    return int(differs.argmax()) if differs.any() else n
