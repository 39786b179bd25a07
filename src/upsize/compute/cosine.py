"""Cosines of two sets of vectors of the same texts, text by text."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from upsize.model.pooling import Vectors

Float64s = NDArray[np.float64]


def cosines(ours: Vectors | Float64s, theirs: Vectors | Float64s) -> Float64s:
    """(n,) cosines of the rows of two sets (n, width), in float64. A row of zeros has a cosine of 0."""
    products: Float64s = (_unit(ours) * _unit(theirs)).sum(axis=1)
    return products


def centred_cosines(ours: Vectors, theirs: Vectors, *, own_means: bool) -> Float64s:
    """(n,) cosines of two sets of directions (n, width), after a mean direction was subtracted from each.

    All texts share a large common component, which flatters the plain cosine. With `own_means` each set loses its own
    mean. Otherwise both lose the mean of `theirs`, the reference, so that an error common to all texts is seen as well.
    """
    first, second = _unit(ours), _unit(theirs)
    reference = second.mean(axis=0)
    return cosines(first - (first.mean(axis=0) if own_means else reference), second - reference)


def _unit(vectors: Vectors | Float64s) -> Float64s:
    values = vectors.astype(np.float64)
    lengths = np.linalg.norm(values, axis=1, keepdims=True)
    unit: Float64s = values / np.where(lengths > 0, lengths, 1)
    return unit
