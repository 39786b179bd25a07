"""What is remembered of beginnings: the longest that is shared, the last used, and no more than may be."""

from __future__ import annotations

import numpy as np

from upsize.compute.native.prefix_cache import MAX_PREFIX, MAX_PREFIXES, MIN_PREFIX, Prefix, PrefixCache, PrefixPlan

A, B, C = np.arange(20), np.arange(100, 130), np.arange(200, 203)


def joined(*parts: np.ndarray) -> np.ndarray:
    return np.concatenate(parts).astype(np.int32)


def keep(prefixes: PrefixCache, plans: list[PrefixPlan]) -> None:
    prefixes.add(Prefix(p.ids[: p.keep], ()) for p in plans if p.keep)


def test_the_second_text_leaves_it_behind_and_the_third_takes_it() -> None:
    prefixes = PrefixCache(1 << 20, 100)
    first, second, third = (joined(A, C + i * 10) for i in range(3))
    assert [(p.shared, p.keep) for p in prefixes.plan([first])] == [(0, 0)]
    plans = prefixes.plan([second])
    assert [(p.shared, p.keep) for p in plans] == [(0, 20)]
    keep(prefixes, plans)
    assert [(p.shared, p.keep) for p in prefixes.plan([third])] == [(20, 0)]


def test_part_of_what_is_kept_is_enough() -> None:
    prefixes = PrefixCache(1 << 20, 100)
    prefixes.add([Prefix(joined(A, B), ())])
    (plan,) = prefixes.plan([joined(A, C)])
    assert (plan.shared, plan.keep) == (20, 0)


def test_within_one_batch_it_is_left_behind_once() -> None:
    plans = PrefixCache(1 << 20, 100).plan([joined(A, C + i * 10) for i in range(4)])
    assert [p.keep for p in plans] == [0, 20, 0, 0]


def test_the_last_token_is_always_computed() -> None:
    prefixes = PrefixCache(1 << 20, 100)
    prefixes.add([Prefix(joined(A), ())])
    assert prefixes.plan([joined(A)])[0].shared == 19
    assert prefixes.plan([A[:1]])[0].shared == 0


def test_little_and_much_are_not_kept() -> None:
    prefixes = PrefixCache(1 << 30, 100)
    prefixes.plan([joined(A[: MIN_PREFIX - 1], B)])
    assert prefixes.plan([joined(A[: MIN_PREFIX - 1], C)])[0].keep == 0
    long = np.arange(MAX_PREFIX + 50)
    prefixes.plan([long])
    assert prefixes.plan([long])[0].keep == MAX_PREFIX


def test_what_was_used_longest_ago_is_forgotten() -> None:
    prefixes = PrefixCache(60 * 100, 100)
    prefixes.add([Prefix(joined(A), ()), Prefix(joined(B), ())])
    assert prefixes.plan([joined(A, C)])[0].shared == 20
    prefixes.add([Prefix(joined(C, A), ())])
    assert [p.shared for p in prefixes.plan([joined(A, C), joined(B, C)])] == [20, 0]


def test_no_memory_no_prefixes() -> None:
    prefixes = PrefixCache(0, 100)
    for _ in range(3):
        assert [(p.shared, p.keep) for p in prefixes.plan([joined(A, B)])] == [(0, 0)]


def test_only_so_many_are_kept_and_what_is_used_stays() -> None:
    prefixes = PrefixCache(1 << 30, 100)
    used = joined(A, B)
    prefixes.add([Prefix(used, ())])
    for i in range(2 * MAX_PREFIXES):
        prefixes.add([Prefix(joined(B + i * 1000), ())])
        assert prefixes.plan([used])[0].shared == len(used) - 1
    first, last = prefixes.plan([joined(B), joined(B + (2 * MAX_PREFIXES - 1) * 1000)])
    assert first.shared == 0
    assert last.shared == len(B) - 1


def test_the_longest_of_several_beginnings_is_taken() -> None:
    prefixes = PrefixCache(1 << 20, 100)
    prefixes.add(Prefix(ids, ()) for ids in (A, joined(A, B), joined(A, C)))
    (plan,) = prefixes.plan([joined(A, B, C)])
    assert plan.shared == len(A) + len(B)
    assert plan.prefix is not None
    assert plan.prefix.ids.tolist() == joined(A, B).tolist()
