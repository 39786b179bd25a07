"""Hard negatives, mined once: for every query the nearest passages of its source that are not its answer."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from .rows import TrainingPairs

KEPT, POOL, LARGEST = 6, 40, 20_000
TOO_NEAR = 0.95
"""A passage above this share of the right one's score may well be right too."""


def negatives(out: Path, pairs: TrainingPairs, tokens: Tensor) -> np.ndarray:
    """Indices (pairs, KEPT) of pairs whose passages are near misses, −1 where there are too few; kept in `out`.

    Args:
        out: folder of the stages.
        pairs: queries and passages.
        tokens: learned token vectors times their weights (vocabulary, dimension): a text is their sum.
    """
    path = out / "negatives.npy"
    if path.exists():
        return np.load(path)
    found = np.full((len(pairs.queries), KEPT), -1, dtype=np.int64)
    rng = np.random.default_rng(20)
    for source in sorted(set(pairs.sources)):
        members = np.flatnonzero(pairs.sources == source)
        pool = np.sort(rng.permutation(members)[:LARGEST])
        passages = vectors(pairs.passages, pool, tokens)
        for start in range(0, len(members), 1000):
            part = members[start : start + 1000]
            queries, own = vectors(pairs.queries, part, tokens), vectors(pairs.passages, part, tokens)
            right = (queries * own).sum(1)
            top, at = (queries @ passages.T).topk(min(POOL, len(pool)), dim=1)
            for row, index in enumerate(part):
                near = pool[at[row][top[row] < TOO_NEAR * right[row]].numpy()]
                near = near[(pairs.same[near] != pairs.same[index]).all(1)][:KEPT]
                found[index, : len(near)] = near
        print(
            f"hard negatives of {source}: {(found[members, 0] >= 0).mean():.2f} of {len(members):,} queries", flush=True
        )
    np.save(path, found)
    return found


def vectors(texts, indices: np.ndarray, tokens: Tensor) -> Tensor:
    """Unit vectors of some texts as sums of token vectors."""
    parts = [
        F.embedding_bag(flat, tokens, offsets, mode="sum")
        for flat, offsets in (texts.bags(indices[i : i + 4000]) for i in range(0, len(indices), 4000))
    ]
    return F.normalize(torch.cat(parts), dim=1)
