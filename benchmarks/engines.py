"""Who is timed on a workload: a model of ours in one precision, or a peer. All in turn, round after round."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from statistics import median
from typing import Any

import numpy as np

from benchmarks.peers import Peer, PeerFailed
from upsize.compute import LoadedModel
from upsize.compute.native import NativeQwen3
from upsize.compute.native.prefix_cache import PREFIX_CACHE_BYTES, PrefixCache, kv_bytes_per_token
from upsize.engine.scheduler import next_batch
from upsize.model.tokenizer import Ids

Clock = Callable[[], float]
Sets = dict[str, list[Ids]]
"""Texts of each workload: `queries`, `passages`, `pairs`, and `one_query`, each of which is a call of its own."""
WARM_UP_CALLS = 3
"""Calls of one query before those that count."""


class UpsizeEngine:
    """A loaded model. Each workload is run with nothing remembered and, where beginnings are shared, remembering."""

    def __init__(self, loaded: LoadedModel, sets: Sets, clock: Clock) -> None:
        self.loaded, self._sets, self._clock = loaded, sets, clock
        self._times: dict[str, list[float]] = {}
        self._time([next(iter(sets.values()))[:1]])  # its weights may still be on disk

    def run(self, workload: str) -> None:
        """One round of it."""
        variants = {workload: False}
        if self.loaded.plan.compiled and workload != "passages":
            variants[f"{workload}_remembering"] = True
        for name, wanted in variants.items():
            self._set_prefix_cache(wanted)
            texts = self._sets[workload]
            if workload == "one_query":
                found = [self._time([[text]]) for text in texts][WARM_UP_CALLS:]
            else:
                if wanted:  # what a service has seen before; the texts themselves are new to it
                    self._time([[text] for text in texts[:WARM_UP_CALLS]])
                found = [self._time(batches(texts, self.loaded.plan.budget))]
            self._times.setdefault(name, []).extend(found)

    def figures(self) -> dict[str, dict[str, Any]]:
        """Of each workload over all rounds; remembered tokens count as the user's tokens do."""
        found = {}
        for name, times in self._times.items():
            texts = self._sets[name.removesuffix("_remembering")]
            found[name] = _one_query(texts, times) if name.startswith("one_query") else _throughput(texts, times)
        return found

    def _time(self, batches: Iterable[Sequence[Ids]]) -> float:
        started = self._clock()
        for batch in batches:
            for _ in self.loaded.run(batch):
                pass
        return self._clock() - started

    def _set_prefix_cache(self, wanted: bool) -> None:
        """Forget every beginning; from here on none is remembered unless `wanted`. The torch network remembers none."""
        network = self.loaded._network
        if isinstance(network, NativeQwen3):
            network.prefixes = PrefixCache(PREFIX_CACHE_BYTES if wanted else 0, kv_bytes_per_token(network.config))


def batches(texts: Sequence[Ids], budget: int) -> list[list[Ids]]:
    """Of so many tokens, as the engine makes them."""
    made, rest = [], sorted(texts, key=len)
    while rest:
        chosen = next_batch([_Waiting(t) for t in rest], budget)
        made.append([rest[i] for i in chosen])
        rest = [t for i, t in enumerate(rest) if i not in set(chosen)]
    return made


class PeerEngine:
    """A peer, at the best of its batch sizes. To score a pair is to embed it: two logits more cost nothing beside."""

    def __init__(self, peer: Peer, sets: Sets) -> None:
        self.peer, self._sets = peer, sets
        self._times: dict[str, list[float]] = {}
        self._sizes: dict[str, int] = {"one_query": 1}
        self._failed: str | None = None

    def tune(self) -> None:
        """Try each batch size once, which also warms everything. Pairs are as long as passages."""
        for workload in ("queries", "passages"):
            if workload in self._sets:
                self._sizes[workload] = min(self.peer.batch_sizes, key=partial(self._seconds, workload))
        self._sizes["pairs"] = self._sizes.get("passages", max(self.peer.batch_sizes))

    def run(self, workload: str) -> None:
        """One round of it; once it failed, nothing."""
        if workload not in self._sets or self._failed:
            return
        try:
            if workload == "one_query":
                found = [float(self.peer.run([text], 1)["seconds"]) for text in self._sets[workload]][WARM_UP_CALLS:]
            else:
                found = [self._seconds(workload, self._sizes[workload])]
        except PeerFailed as failure:
            self._failed = str(failure)
        else:
            self._times.setdefault(workload, []).extend(found)

    def lines(self) -> list[dict[str, Any]]:
        """A line of figures for each workload, or the one of its failure."""
        if self._failed:
            return [self.peer.label | {"failed": self._failed}]
        found = []
        for workload, times in self._times.items():
            texts = self._sets[workload]
            figures = _one_query(texts, times) if workload == "one_query" else _throughput(texts, times)
            found.append(self.peer.label | {"workload": workload, "batch_size": self._sizes[workload]} | figures)
        return found

    def _seconds(self, workload: str, size: int) -> float:
        return float(self.peer.run(self._sets[workload], size)["seconds"])


class _Waiting:
    """A text as the scheduler sees it."""

    deadline = 0.0

    def __init__(self, ids: Ids) -> None:
        self.tokens = len(ids)


def _throughput(texts: Sequence[Ids], times: Sequence[float]) -> dict[str, Any]:
    tokens = sum(map(len, texts))
    return {
        "texts": len(texts),
        "tokens": tokens,
        "seconds": round(median(times), 4),
        "tokens_per_second": round(tokens / median(times), 1),
        "best_tokens_per_second": round(tokens / min(times), 1),
    }


def _one_query(texts: Sequence[Ids], times: Sequence[float]) -> dict[str, Any]:
    return {
        "texts": len(times),
        "tokens": int(np.median([len(t) for t in texts])),
        "p50_ms": round(1e3 * median(times), 1),
        "best_ms": round(1e3 * min(times), 1),
    }
