"""Verdicts to draw: made up, of every shape that a page must show."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from upsize.selection.verdict import (
    CandidateReport,
    Cost,
    Difference,
    InfeasibleCandidate,
    Interval,
    Latency,
    LoadPoint,
    Memory,
    Quantile,
    SampleSize,
    SliceVerdict,
    TaskFacts,
    Verdict,
)

RATES = (2.0, 4.0, 8.0, 12.0, 16.0, 24.0)
_PARTS = (  # id, model, dimension, reranker, depth, quality, flops of a query, ms of a query alone
    ("demo-xs", "demo-xs", 128, None, None, 0.5213, 3.1e8, 2.1),
    ("demo-s@64", "demo-s", 64, None, None, 0.5664, 1.1e9, 5.2),
    ("demo-s", "demo-s", 192, None, None, 0.5881, 1.1e9, 5.3),
    ("demo-m", "demo-m", 384, None, None, 0.6147, 4.4e9, 17.9),
    ("demo-s+demo-rerank/20", "demo-s", 192, "demo-rerank", 20, 0.6398, 9.8e9, 61.0),
    ("demo-m+demo-rerank/20", "demo-m", 384, "demo-rerank", 20, 0.6421, 1.3e10, 73.0),
)


def a_point(rate: float, alone: float) -> LoadPoint:
    """As a queue of one server would have it."""
    load = min(rate * alone / 1000, 0.985)
    p50, p95, p99 = (alone * (1 + k * load / (1 - load)) for k in (0.7, 3.0, 4.6))
    upper = None if rate < 3 else p99 * 1.3
    return LoadPoint(
        rate,
        min(rate, 1000 / alone) * 0.993,
        int(rate * 60),
        0 if load < 0.98 else 3,
        Quantile(p50, p50 * 0.96, p50 * 1.05),
        Quantile(p95, p95 * 0.9, p95 * 1.13),
        Quantile(p99, p99 * 0.85, upper),
        load < 0.98,
    )


def a_candidate(place: int, *, priced: bool = True) -> CandidateReport:
    name, model, dimension, reranker, depth, quality, flops, alone = _PARTS[place]
    sweep = tuple(a_point(rate, alone) for rate in RATES)
    kept = [p.rate for p in sweep if p.kept_up]
    slow = alone > 70
    return CandidateReport(
        id=name,
        model=model,
        dimension=dimension,
        precision="bfloat16",
        reranker=reranker,
        depth=depth,
        fingerprint=f"{place:012x}",
        feasible=not slow,
        why_not="its p95 is over the limit of 300 ms" if slow else None,
        quality=Interval(quality, quality - 0.0243, quality + 0.0238),
        flops_a_query=flops,
        bytes_a_vector=dimension * 4,
        memory=Memory(9_812_344 * (place + 1), 41_000_000, None if place == 2 else 39_412_736 * (place + 1)),
        tokens_per_second=41_233.5 / (place + 1),
        backfill_seconds=95.25 * (place + 1) ** 3,
        latency=Latency(sweep[1], sweep, max(kept)),
        money=Cost(0.12, 0.113 * (place + 1) ** 2, 0.0317 * (place + 1)) if priced else None,
        run=f"runs/{name.replace('/', '_')}-0123456789ab",
    )


def a_hard_verdict() -> Verdict:
    """Long names, slow answers, few of them, prices of a hundred-thousandth and of a million."""
    v = a_verdict()

    def hard(place: int, c: CandidateReport) -> CandidateReport:
        def slow(q: Quantile) -> Quantile:
            return Quantile(q.estimate * 40, q.lower * 40, None)

        assert c.latency is not None
        sweep = tuple(
            replace(p, p50=slow(p.p50), p95=slow(p.p95), p99=slow(p.p99)) for p in c.latency.sweep[: place + 1]
        )
        return replace(
            c,
            id=c.id.replace("demo-m", "Qwen3-Embedding-8B").replace("demo-rerank", "Qwen3-Reranker-4B"),
            why_not="p95 is 4,418 ms at 2 a second, and the limit is 1,300 ms" if place == 5 else c.why_not,
            latency=Latency(sweep[0], sweep, sweep[0].rate, knee_at_least=True),
            money=Cost(0.00001, 1e6, 1234567.0, at_most=True),
            quality=Interval(-0.0, -0.01, 0.01) if place == 1 else c.quality,
            tokens_per_second=1.3,
            backfill_seconds=9.9e6,
        )

    candidates = tuple(hard(i, c) for i, c in enumerate(v.candidates))
    return replace(v, candidates=candidates, choice=candidates[4].id, limits={"p95": 1300.0}, delta=0.00001)


def a_matrix() -> dict[str, Any]:
    """A matrix that was measured."""
    path = Path(__file__).parents[2] / "benchmarks" / "results" / "matrix.json"
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


def a_verdict(*, many: int = len(_PARTS), bare: bool = False) -> Verdict:
    """Go up to the reranker, but for short queries; `bare` has neither latency, money, slices nor refusals."""
    candidates = tuple(a_candidate(i, priced=not bare) for i in range(many))
    if bare:
        candidates = tuple(
            CandidateReport(**{**c.__dict__, "latency": None, "memory": None, "tokens_per_second": None})
            for c in candidates
        )
    rng = np.random.default_rng(0)
    differences = []
    for j, larger in enumerate(candidates):
        for smaller in candidates[:j]:
            half = float(rng.uniform(0.012, 0.028))
            gain = larger.quality.estimate - smaller.quality.estimate
            p = float(rng.uniform(0.0002, 0.2))
            differences.append(
                Difference(smaller.id, larger.id, gain, gain - half, gain + half, p, min(3 * p, 1), 0.21)
            )
    choice = candidates[min(4, many - 1)]
    return Verdict(
        decision="go_up" if not bare else "cannot_tell",
        choice=choice.id,
        settled=not bare,
        reason=f"Go up to {choice.id}: it is better than demo-xs by more than what counts, and nothing larger is shown "
        "to be better still.",
        runner_up="demo-m" if many > 3 else None,
        what_would_change_it=("A limit of p95 under 60 ms would leave demo-m.", "A delta of 0.04 would leave demo-m."),
        queries_needed=130 if bare else None,
        sample_size=SampleSize(630, 130, None, 0.8, 0.231) if bare else None,
        delta=0.01,
        confidence=0.95,
        candidates=candidates,
        refused=()
        if bare
        else (
            InfeasibleCandidate(
                "Qwen3-Embedding-8B", "Qwen3-Embedding-8B", 4096, "float32", None, None,
                "its weights and one long text need 31.2 GB and 14.8 GB are free",
                ("weights 7567295488 × 4 bytes = 30.3 GB", "work 0.9 GB", "30.3 + 0.9 = 31.2 GB > 14.8 GB"),
            ),
        ),
        differences=tuple(differences),
        slices=()
        if bare
        else (
            SliceVerdict("language=zh", 211, "as_all", 0.6512, None, None),
            SliceVerdict("length=short", 88, "cannot_tell", 0.611, "demo-m", Interval(0.004, -0.031, 0.042)),
            SliceVerdict("language=ar", 140, "go_up", 0.402, "demo-m+demo-rerank/20", Interval(0.071, 0.033, 0.109)),
            SliceVerdict("kind=number", 7, "too_few", None, None, None),
        ),
        task=TaskFacts("retrieval", "nDCG@10", "query", 500, 480, 1),
        dataset={"path": "data/<mine> & yours", "kind": "retrieval", "documents": 5183, "queries": 500},
        seed=0,
        limits={} if bare else {"p95": 300.0},
        resamples=4000,
        notes=() if bare else ("The machine was busy: 2.4 processes wanted its 2 cores.",),
        machine={"processor": "AMD EPYC", "cores": 2, "memory": 25_000_000_000, "gpus": []},
        versions={"upsize": "0.2.0", "torch": "2.13.0+cpu"},
        date="2026-11-25",
        command="upsize choose --data data/mine --models demo-xs demo-s demo-m --rate 4 --slo-p95 300ms --out report/",
    )  # fmt: skip
