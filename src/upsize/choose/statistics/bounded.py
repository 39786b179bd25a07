"""Bounds of a mean of bounded values, which allow for what was not seen (Gaffke 2005; Learned-Miller and Thomas 2019).

A sample of n values says little of what happens once in n: a gain of 1 on 5 % of the units is absent from 21 % of all
samples of 30. The upper bound is the quantile of Σ w·x over random weights w, uniform on the simplex, where x are the n
values and one more at the top of the range. Of zeros and ones it is the bound of Clopper and Pearson (1934). No
distribution on the range is known on which it covers less than it says (Phan, Thomas and Learned-Miller 2021).

With weights as exponentials over their sum, Σ w·x > t is Σ e·(x − t) > 0: a weighted sum of exponentials, whose tail
the saddlepoint approximation of Lugannani and Rice (1980) gives to within 1 % here. The saddlepoint λ determines t in
closed form, so that one search over λ is left.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from upsize.choose.statistics.influence import Floats

_STEPS = 30
"""Halvings of log λ, from 1e-4 to 1e12 relative: to 4e-8."""
_BLOCK = 1 << 20
"""Values that are worked on at once: some arrays of 8 MB."""
_MOST, _GRID = 4096, 2049
"""Beyond so many values they are counted on a grid of so many points, rounded away from the estimate."""


def upper_bounds(values: Floats, top: Floats, alpha: float, count: Floats | None = None) -> Floats:
    """(samples,) upper bounds, each exceeded by the true mean with probability `alpha` at most.

    `values` is (samples, n), `top` (samples,) the greatest value possible. `count` (samples,) tells how many
    independent values the n stand for, where these are correlated; None: n.
    """
    samples, n = values.shape
    if not values.size:
        return np.array(top, np.float64, copy=True)
    counts = np.full(samples, float(n)) if count is None else count
    size = max(_BLOCK // min(n, _MOST), 1)
    parts = (slice(first, first + size) for first in range(0, samples, size))
    return np.concatenate([_upper(values[part], top[part], alpha, counts[part]) for part in parts])


def _upper(values: Floats, top: Floats, alpha: float, count: Floats) -> Floats:
    """The same of few enough samples at once."""
    samples, n = values.shape
    mean = values.mean(axis=1)
    around, times = _distinct(values - mean[:, None])
    if around.shape[1] > _MOST:
        around, times = _on_grid(values - mean[:, None])
    times = times * (count / n)[:, None]
    room = np.maximum(top - mean, around.max(axis=1))[:, None]
    around, times = np.concatenate([around, room], axis=1), np.concatenate([times, np.ones((samples, 1))], axis=1)
    greatest = np.maximum(room[:, 0], 1e-300)
    low, high = np.full(samples, np.log(1e-4)), np.full(samples, np.log(1e12))
    for _ in range(_STEPS):
        middle = (low + high) / 2
        odds = np.exp(middle)
        bound, tail = _tail(odds / (1 + odds) / greatest, around, times)
        low, high = np.where(tail > alpha, middle, low), np.where(tail > alpha, high, middle)
    found: Floats = np.where(room[:, 0] > 1e-12, np.minimum(mean + bound, np.maximum(top, values.max(axis=1))), mean)
    return found


def lower_bounds(values: Floats, bottom: Floats, alpha: float, count: Floats | None = None) -> Floats:
    """(samples,) lower bounds; `bottom` is the least value possible."""
    found: Floats = -upper_bounds(-values, -bottom, alpha, count)
    return found


def _tail(saddle: Floats, x: Floats, times: Floats) -> tuple[Floats, Floats]:
    """(bound t, P(Σ e·(x − t) > 0)) at λ = `saddle`; x has mean 0 but for its last, `times` are the shapes of e."""
    tilted = times / (1 - saddle[:, None] * x)
    bound = (tilted * x).sum(axis=1) / tilted.sum(axis=1)
    s = saddle / (1 - bound * saddle)
    cumulant = -(times * (np.log1p(bound * s)[:, None] + np.log1p(-saddle[:, None] * x))).sum(axis=1)
    away = x - bound[:, None]
    spread = (times * (away / (1 - away * s[:, None])) ** 2).sum(axis=1)
    r, u = np.sqrt(np.maximum(-2 * cumulant, 1e-12)), np.maximum(s * np.sqrt(spread), 1e-12)
    tail: Floats = special.ndtr(-r) + np.exp(-(r**2) / 2) / np.sqrt(2 * np.pi) * (1 / u - 1 / r)
    return bound, tail


def _distinct(values: Floats) -> tuple[Floats, Floats]:
    """(values, counts), both (samples, most distinct values of one): ties are counted; the rest has a count of 0."""
    samples, n = values.shape
    ordered = np.sort(values, axis=1)
    places = np.zeros((samples, n), np.int64)
    np.cumsum(np.diff(ordered, axis=1) > 1e-12, axis=1, out=places[:, 1:])
    width = int(places.max()) + 1
    rows = np.arange(samples)[:, None]
    flat = (places + rows * width).ravel()
    counts = np.bincount(flat, minlength=samples * width).reshape(samples, width).astype(np.float64)
    found = np.zeros((samples, width))
    found[rows, places] = ordered
    return found, counts


def _on_grid(values: Floats) -> tuple[Floats, Floats]:
    """(values, counts), both (samples, _GRID): each value moved up to the next point, so the bound is no smaller."""
    samples = len(values)
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    step = np.maximum(high - low, 1e-300) / (_GRID - 1)
    places = np.ceil((values - low) / step - 1e-9).astype(np.int64)
    flat = np.clip(places, 0, _GRID - 1) + np.arange(samples)[:, None] * _GRID
    counts = np.bincount(flat.ravel(), minlength=samples * _GRID).reshape(samples, _GRID).astype(np.float64)
    return low + step * np.arange(_GRID), counts
