"""The training losses, each taken at several leading parts of the vector (Kusupati et al. 2022, matryoshka)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.05


def distil_loss(states: Tensor, targets: Tensor, dimensions: Sequence[int]) -> Tensor:
    """1 − cosine at every dimension, and InfoNCE of each text against the targets of its batch at the full one.

    Args:
        states: (batch, hidden), the student's.
        targets: (batch, hidden), the teacher's, in the student's space.
        dimensions: where to cut.
    """
    loss = states.new_zeros(())
    for dimension in dimensions:
        loss = loss + (1 - F.cosine_similarity(states[:, :dimension], targets[:, :dimension])).mean()
    ours, theirs = F.normalize(states, dim=1), F.normalize(targets, dim=1)
    soft = F.softmax(theirs @ theirs.T / TEMPERATURE, dim=1)  # near-equal targets are no negatives
    return 4 * loss / len(dimensions) + 0.3 * F.cross_entropy(ours @ theirs.T / TEMPERATURE, soft)


def pair_loss(queries: Tensor, passages: Tensor, allowed: Tensor, dimensions: Sequence[int]) -> Tensor:
    """InfoNCE in both directions, at every dimension.

    Args:
        queries: (batch, hidden).
        passages: (batch + more, hidden); the first `batch` answer the queries, more are negatives of all.
        allowed: bool (batch, batch + more), False where a passage is no negative of a query.
        dimensions: where to cut.
    """
    loss, count = queries.new_zeros(()), len(queries)
    labels = torch.arange(count)
    for dimension in dimensions:
        q, p = F.normalize(queries[:, :dimension], dim=1), F.normalize(passages[:, :dimension], dim=1)
        scores = (q @ p.T / TEMPERATURE).masked_fill(~allowed, -1e4)
        loss = loss + F.cross_entropy(scores, labels) + 0.5 * F.cross_entropy(scores[:, :count].T, labels)
    return loss / len(dimensions)


def clashes(numbers: Tensor, others: Tensor) -> Tensor:
    """Where query i and passage j must not count as a negative: bool (len(numbers), len(others)).

    Args:
        numbers: (batch, 2): what tells the query and its passage again.
        others: (passages, 2): the same of every passage's own query and of the passage.
    """
    same = (numbers[:, None] == others[None]).any(-1)
    same[torch.arange(len(numbers)), torch.arange(len(numbers))] = False
    return same
