"""The training losses: distillation, and contrast at several leading parts of the vector (Kusupati et al. 2022)."""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

TEMPERATURE = 0.05


def distil_loss(states: Tensor, targets: Tensor) -> Tensor:
    """1 − cosine to the teacher; each text against the teacher's batch; each text against the student's own batch.

    The last two hold a text's similarities to all others against the teacher's, so near-equal texts are no negatives.
    The targets are turned so that their leading dimensions say most: no cut is needed here.

    Args:
        states: (batch, hidden), the student's.
        targets: (batch, hidden), the teacher's, in the student's space.
    """
    ours, theirs = F.normalize(states, dim=1), F.normalize(targets, dim=1)
    wanted = F.softmax(theirs @ theirs.T / TEMPERATURE, dim=1)
    across = F.cross_entropy(ours @ theirs.T / TEMPERATURE, wanted)
    return 4 * (1 - (ours * theirs).sum(1)).mean() + across + within_loss(states, targets, (states.shape[1],))


def within_loss(states: Tensor, targets: Tensor, dimensions: Sequence[int]) -> Tensor:
    """A text's similarities to the others of the student's own batch against those of the teacher's.

    Args:
        states: (batch, hidden), the student's.
        targets: (batch, any), the teacher's.
        dimensions: where to cut the student's.
    """

    def similar(vectors: Tensor) -> Tensor:
        unit = F.normalize(vectors, dim=1)
        return F.log_softmax((unit @ unit.T / TEMPERATURE).masked_fill(torch.eye(len(unit)) > 0, -1e4), dim=1)

    wanted, loss = similar(targets), states.new_zeros(())
    for dimension in dimensions:
        own = similar(states[:, :dimension])
        loss = loss + F.kl_div(own, wanted, reduction="batchmean", log_target=True)
    return loss / len(dimensions)


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
