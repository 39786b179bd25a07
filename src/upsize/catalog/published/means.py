"""Means that the models' pages state (model cards and technical report, arXiv 2506.05176), in points of 100."""

from __future__ import annotations

from dataclasses import dataclass

SIZES = ("0.6B", "4B", "8B")


@dataclass(frozen=True)
class Benchmark:
    """One benchmark: the mean over its tasks, in the order of SIZES."""

    name: str
    what: str
    """`multilingual`, `English`, `Chinese`, `code`."""
    mean: tuple[float, float, float]


BENCHMARKS = (
    Benchmark("MTEB multilingual", "multilingual", (64.33, 69.45, 70.58)),
    Benchmark("MTEB English v2", "English", (70.70, 74.60, 75.22)),
    Benchmark("C-MTEB", "Chinese", (66.33, 72.27, 73.84)),
    Benchmark("MTEB Code", "code", (75.41, 80.06, 80.68)),
)


@dataclass(frozen=True)
class Reranked:
    """Retrieval with Embedding-0.6B's first 100 documents reranked, against larger embedders alone."""

    name: str
    what: str
    alone: tuple[float, float | None, float | None]
    """The embedders of SIZES without a reranker; None: not published on this set."""
    reranked: tuple[float, float, float]
    """Embedding-0.6B and the reranker of each of SIZES over its top 100."""


RERANKED = (
    Reranked("MTEB-R", "English", (61.82, 68.46, 69.44), (65.80, 69.76, 69.02)),
    Reranked("CMTEB-R", "Chinese", (71.02, 77.03, 78.21), (71.31, 75.94, 77.45)),
    Reranked("MMTEB-R", "multilingual", (64.64, 69.60, 70.88), (66.36, 72.74, 72.94)),
    Reranked("MLDR", "long documents", (50.26, None, None), (67.28, 69.97, 70.19)),
    Reranked("MTEB-Code", "code", (75.41, 80.06, 80.68), (73.42, 81.20, 81.22)),
    Reranked("FollowIR", "instruction following", (5.09, 11.56, 10.06), (5.41, 14.84, 8.05)),
)
