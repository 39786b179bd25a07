"""Bounds of a mean of bounded values, which allow for what was not seen (Gaffke 2005; Learned-Miller and Thomas 2019).

A sample of n values says little of what happens once in n: a gain of 1 on 5 % of the units is absent from 21 % of all
samples of 30. The upper bound is the quantile of Σ w·x over random weights w, uniform on the simplex, where x are the n
values and one more at the top of the range. Of zeros and ones it is the bound of Clopper and Pearson (1934). No
distribution on the range is known on which it covers less than it says (Phan, Thomas and Learned-Miller 2021). The
weights do not depend on the values, so a bound never falls where a value rises.

With weights as exponentials over their sum, Σ w·x > t is Σ e·(x − t) > 0: a weighted sum of exponentials. Its tail
probability is either approximated after Lugannani and Rice (1980), to within 1 % here, or integrated numerically along
the line through the saddlepoint, to all digits. The saddlepoint λ determines t in closed form, so that one search over
λ is left.
"""

from __future__ import annotations

import numpy as np
from scipy import special

from upsize.evaluation.statistics.sample import Floats

_STEPS = 36
"""Halvings of log λ, from 1e-4 to 1e12 relative: to 5e-10."""
_BLOCK = 1 << 20
"""Values that are worked on at once: some arrays of 8 MB."""
_MOST, _GRID = 4096, 2049
"""Beyond so many values they are counted on a grid of so many points, each at the two points beside it."""
_EXACT = 128
"""Values up to which tails are integrated, where that is asked for. With more the approximation of a bound is good to
1e-4 of the range."""
_CORRECTIONS = 4
"""Times that the tail looked for is corrected by that integrated: each leaves about a hundredth of the error."""
_NODES = np.arange(0.05, 9.0, 0.1)
"""Of the integral over y = sinh(node), by the midpoint rule, which converges exponentially here."""


def upper_bounds(
    values: Floats, top: Floats, alpha: float, shapes: Floats | None = None, *, exact: bool = False
) -> Floats:
    """(samples,) upper bounds, each exceeded by the true mean with probability `alpha` at most.

    `values` is (samples, n), `top` (samples,) the greatest value possible. `shapes` (samples, n) tells how many
    independent values each stands for, where they are correlated or count unequally; None: one. `exact` asks for tails
    to all digits, which takes about ten times as long.
    """
    if not values.size:
        return np.array(top, np.float64, copy=True)
    samples, n = values.shape
    weights = np.ones_like(values) if shapes is None else shapes
    exact = exact and n <= _EXACT
    size = max(_BLOCK // (min(n, _MOST) * (len(_NODES) if exact else 1)), 1)
    parts = (slice(first, first + size) for first in range(0, samples, size))
    return np.concatenate([_upper(values[part], top[part], alpha, weights[part], exact) for part in parts])


def lower_bounds(
    values: Floats, bottom: Floats, alpha: float, shapes: Floats | None = None, *, exact: bool = False
) -> Floats:
    """(samples,) lower bounds; `bottom` is the least value possible."""
    found: Floats = -upper_bounds(-values, -bottom, alpha, shapes, exact=exact)
    return found


def _upper(values: Floats, top: Floats, alpha: float, shapes: Floats, exact: bool) -> Floats:
    """The same of few enough samples at once."""
    mean: Floats = (values * shapes).sum(axis=1) / shapes.sum(axis=1)
    room = np.maximum(top, values.max(axis=1)) - mean
    if (some := room > 1e-12).any():
        values, shapes, room = values[some] - mean[some, None], shapes[some], room[some]
        mean[some] += np.minimum(_above(values, room, alpha, shapes, exact), room)
    return mean


def _above(values: Floats, room: Floats, alpha: float, shapes: Floats, exact: bool) -> Floats:
    """(samples,) how far the bounds of values with a mean of 0 lie above it. `room` is the greatest value possible."""
    around, times = _distinct(values, shapes)
    if around.shape[1] > _MOST:
        around, times = _on_grid(values, shapes)
    around = np.concatenate([around, room[:, None]], axis=1)
    times = np.concatenate([times, np.ones((len(room), 1))], axis=1)
    wanted = np.full(len(room), alpha)
    for _ in range(_CORRECTIONS if exact else 0):
        saddle = _search(wanted, room, around, times)
        wanted *= alpha / _integrated(saddle, around, times)
    return _saddlepoint(_search(wanted, room, around, times), around, times)[0]


def _search(wanted: Floats, room: Floats, around: Floats, times: Floats) -> Floats:
    """(samples,) the saddlepoints at which the approximate tails are those wanted."""
    low, high = np.full(len(room), np.log(1e-4)), np.full(len(room), np.log(1e12))
    for _ in range(_STEPS):
        odds = np.exp((low + high) / 2)
        tail = _approximate(odds / (1 + odds) / room, around, times)
        low, high = np.where(tail > wanted, np.log(odds), low), np.where(tail > wanted, high, np.log(odds))
    odds = np.exp((low + high) / 2)
    saddles: Floats = odds / (1 + odds) / room
    return saddles


def _approximate(saddle: Floats, x: Floats, times: Floats) -> Floats:
    """P(Σ e·(x − t) > 0) after Lugannani and Rice, at the t that has the saddlepoint λ. x has mean 0 but for its last,
    `times` are the shapes of e."""
    _, s, _, cumulant, spread = _saddlepoint(saddle, x, times)
    r, u = np.sqrt(np.maximum(-2 * cumulant, 1e-12)), np.maximum(s * np.sqrt(spread), 1e-12)
    tail: Floats = special.ndtr(-r) + np.exp(-(r**2) / 2) / np.sqrt(2 * np.pi) * (1 / u - 1 / r)
    return tail


def _integrated(saddle: Floats, x: Floats, times: Floats) -> Floats:
    """The same by 1/π ∫ Re(M(s + iy) / (s + iy)) dy over y > 0, with M the moment generating function of the sum."""
    _, s, tilted, cumulant, spread = _saddlepoint(saddle, x, times)
    scale = 1 / np.sqrt(spread)
    y = scale[:, None] * np.sinh(_NODES)
    ratio = y[:, :, None] * tilted[:, None, :]
    size = np.exp(cumulant[:, None] - (times[:, None, :] * np.log1p(ratio**2)).sum(axis=2) / 2)
    phase = (times[:, None, :] * np.arctan(ratio)).sum(axis=2)
    s = s[:, None]
    along = size * (s * np.cos(phase) + y * np.sin(phase)) / (s**2 + y**2) * np.cosh(_NODES)
    tail: Floats = along.sum(axis=1) * scale * (_NODES[1] - _NODES[0]) / np.pi
    return tail


def _saddlepoint(saddle: Floats, x: Floats, times: Floats) -> tuple[Floats, Floats, Floats, Floats, Floats]:
    """t; the saddlepoint s of Σ e·(x − t); (x − t) / (1 − s (x − t)); the cumulant generating function at s, and its
    second derivative."""
    tilted = times / (1 - saddle[:, None] * x)
    bound = (tilted * x).sum(axis=1) / tilted.sum(axis=1)
    s = saddle / (1 - bound * saddle)
    cumulant = -(times * (np.log1p(bound * s)[:, None] + np.log1p(-saddle[:, None] * x))).sum(axis=1)
    away = x - bound[:, None]
    away = away / (1 - away * s[:, None])
    return bound, s, away, cumulant, (times * away**2).sum(axis=1)


def _distinct(values: Floats, shapes: Floats) -> tuple[Floats, Floats]:
    """(values, shapes), both (samples, most distinct values of one): ties are added up; the rest has a shape of 0."""
    samples, n = values.shape
    order = np.argsort(values, axis=1)
    ordered = np.take_along_axis(values, order, axis=1)
    places = np.zeros((samples, n), np.int64)
    np.cumsum(np.diff(ordered, axis=1) > 1e-12, axis=1, out=places[:, 1:])
    width = int(places.max()) + 1
    rows = np.arange(samples)[:, None]
    flat = (places + rows * width).ravel()
    weights = np.take_along_axis(shapes, order, axis=1).ravel()
    found = np.zeros((samples, width))
    found[rows, places] = ordered
    counts: Floats = np.bincount(flat, weights, minlength=samples * width).astype(np.float64)
    return found, counts.reshape(samples, width)


def _on_grid(values: Floats, shapes: Floats) -> tuple[Floats, Floats]:
    """(values, shapes), both (samples, _GRID): each value is shared by the points beside it, so that the mean stays."""
    samples = len(values)
    low, high = values.min(axis=1, keepdims=True), values.max(axis=1, keepdims=True)
    step = np.maximum(high - low, 1e-300) / (_GRID - 1)
    at = (values - low) / step
    places = np.clip(np.floor(at).astype(np.int64), 0, _GRID - 2)
    share = at - places
    flat = places + np.arange(samples)[:, None] * _GRID
    below = np.bincount(flat.ravel(), (shapes * (1 - share)).ravel(), minlength=samples * _GRID)
    above = np.bincount(flat.ravel() + 1, (shapes * share).ravel(), minlength=samples * _GRID)
    counts: Floats = (below + above).astype(np.float64)
    return low + step * np.arange(_GRID), counts.reshape(samples, _GRID)
