"""The prefix cache: it hits the longest prefix, evicts the least recently used, and keeps to its limits."""

from __future__ import annotations

import numpy as np

from upsize.compute.native.prefix_cache import MAX_PREFIX, MAX_PREFIXES, MIN_PREFIX, Prefix, PrefixCache, PrefixLookup

A, B, C = np.arange(20), np.arange(100, 130), np.arange(200, 203)


def joined(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts).astype(np.int32)


def keep(prefixes: PrefixCache, plans: list[PrefixLookup]) -> None:
    prefixes.add(Prefix(p.ids[: p.store_tokens], ()) for p in plans if p.store_tokens)


def test_the_second_text_stores_a_prefix_and_the_third_hits_it() -> None:
    prefixes = PrefixCache(1 << 20, 100)
    first, second, third = (joined(A, C + i * 10) for i in range(3))
    assert [(p.hit_tokens, p.store_tokens) for p in prefixes.lookup([first])] == [(0, 0)]
    plans = prefixes.lookup([second])
    assert [(p.hit_tokens, p.store_tokens) for p in plans] == [(0, 20)]
    keep(prefixes, plans)
    assert [(p.hit_tokens, p.store_tokens) for p in prefixes.lookup([third])] == [(20, 0)]


def test_a_part_of_a_cached_prefix_is_a_hit() -> None:
    prefixes = PrefixCache(1 << 20, 100)
    prefixes.add([Prefix(joined(A, B), ())])
    (plan,) = prefixes.lookup([joined(A, C)])
    assert (plan.hit_tokens, plan.store_tokens) == (20, 0)


def test_one_batch_stores_a_prefix_once() -> None:
    plans = PrefixCache(1 << 20, 100).lookup([joined(A, C + i * 10) for i in range(4)])
    assert [p.store_tokens for p in plans] == [0, 20, 0, 0]


def test_the_last_token_is_always_computed() -> None:
    prefixes = PrefixCache(1 << 20, 100)
    prefixes.add([Prefix(joined(A), ())])
    assert prefixes.lookup([joined(A)])[0].hit_tokens == 19
    assert prefixes.lookup([A[:1]])[0].hit_tokens == 0


def test_prefixes_are_neither_too_short_nor_too_long() -> None:
    prefixes = PrefixCache(1 << 30, 100)
    prefixes.lookup([joined(A[: MIN_PREFIX - 1], B)])
    assert prefixes.lookup([joined(A[: MIN_PREFIX - 1], C)])[0].store_tokens == 0
    long = np.arange(MAX_PREFIX + 50)
    prefixes.lookup([long])
    assert prefixes.lookup([long])[0].store_tokens == MAX_PREFIX


def test_the_least_recently_used_prefix_is_evicted() -> None:
    prefixes = PrefixCache(60 * 100, 100)
    prefixes.add([Prefix(joined(A), ()), Prefix(joined(B), ())])
    assert prefixes.lookup([joined(A, C)])[0].hit_tokens == 20
    prefixes.add([Prefix(joined(C, A), ())])
    assert [p.hit_tokens for p in prefixes.lookup([joined(A, C), joined(B, C)])] == [20, 0]


def test_a_cache_without_memory_stores_nothing() -> None:
    prefixes = PrefixCache(0, 100)
    for _ in range(3):
        assert [(p.hit_tokens, p.store_tokens) for p in prefixes.lookup([joined(A, B)])] == [(0, 0)]


def test_at_most_max_prefixes_are_kept_and_a_used_one_stays() -> None:
    prefixes = PrefixCache(1 << 30, 100)
    used = joined(A, B)
    prefixes.add([Prefix(used, ())])
    for i in range(2 * MAX_PREFIXES):
        prefixes.add([Prefix(joined(B + i * 1000), ())])
        assert prefixes.lookup([used])[0].hit_tokens == len(used) - 1
    first, last = prefixes.lookup([joined(B), joined(B + (2 * MAX_PREFIXES - 1) * 1000)])
    assert first.hit_tokens == 0
    assert last.hit_tokens == len(B) - 1


def test_the_longest_of_several_prefixes_is_the_hit() -> None:
    prefixes = PrefixCache(1 << 20, 100)
    prefixes.add(Prefix(ids, ()) for ids in (A, joined(A, B), joined(A, C)))
    (plan,) = prefixes.lookup([joined(A, B, C)])
    assert plan.hit_tokens == len(A) + len(B)
    assert plan.prefix is not None
    assert plan.prefix.ids.tolist() == joined(A, B).tolist()
