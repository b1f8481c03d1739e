"""Selecting from many scores, exactly and without sorting them all. Pure numerics: no Prefect, no Google, no I/O."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.number]
Ints = NDArray[np.integer]

_STRIDE = 64  # one score in so many is looked at for a first guess of the k-th largest
_MAX_PASSES = 128  # about here one binary search per score (branches that cannot be predicted) overtakes p passes


def top_k(scores: Numbers, k: int, tie_order: Ints) -> NDArray[np.intp]:
    """Positions of the k largest scores, best first.

    scores: (n,). tie_order: (n,) unique integers; among equal scores the smaller one comes first, also where the ties
    straddle the k-th place. Returns (min(k, n),) positions.

    Raises ValueError if k is negative, a score is NaN or the shapes differ.
    """
    if scores.ndim != 1 or scores.shape != tie_order.shape:
        raise ValueError(f"scores {scores.shape} and tie_order {tie_order.shape} must be vectors of one length")
    if k < 0:
        raise ValueError(f"k must not be negative, got {k}")
    if np.isnan(scores).any():
        raise ValueError("NaN scores cannot be ranked")
    k = min(k, scores.size)
    if k == 0:
        return np.empty(0, dtype=np.intp)
    chosen = _choose(scores, k, tie_order)
    # Worst first, then reversed: ~ turns integers of any kind around, where minus would overflow on unsigned ones.
    return chosen[np.lexsort((~tie_order[chosen], scores[chosen]))[::-1]]


def top_k_outside(scores: Numbers, inside: Ints, k: int, tie_order: Ints) -> NDArray[np.intp]:
    """`top_k` among the positions that are not `inside` (each once), as positions among all.

    Returns (min(k, n - len(inside)),) positions. Among the k + len(inside) best at most len(inside) are inside.
    """
    is_outside = np.ones(scores.size, bool)
    is_outside[inside] = False
    best = top_k(scores, k + inside.size, tie_order)
    return best[is_outside[best]][:k]


def count_above(levels: Numbers, scores: Numbers, *, or_equal: bool = False) -> NDArray[np.int64]:
    """For each level the number of scores above it, or at or above it.

    levels: (p,) ascending. scores: (n,), no NaN. Returns (p,). Time is O(n p) for few levels, where a plain pass is
    many times faster than a search, and O(n log p) for many.
    """
    if levels.size <= _MAX_PASSES:
        is_counted = np.greater_equal if or_equal else np.greater
        return np.array([np.count_nonzero(is_counted(scores, level)) for level in levels], dtype=np.int64)
    n_levels_below = np.searchsorted(levels, scores, side="right" if or_equal else "left")
    return scores.size - np.cumsum(np.bincount(n_levels_below, minlength=levels.size + 1))[:-1]


def _choose(scores: Numbers, k: int, tie_order: Ints) -> NDArray[np.intp]:
    """Positions of the k best, 1 <= k <= n, in no particular order."""
    threshold = _kth_largest(scores, k)
    above = np.flatnonzero(scores > threshold)
    tied = np.flatnonzero(scores == threshold)
    n_missing = k - above.size
    if n_missing < tied.size:
        earliness = ~tie_order[tied]
        tied = tied[earliness >= _kth_largest(earliness, n_missing)]
    return np.concatenate([above, tied])


def _kth_largest(values: Numbers, k: int) -> np.number:
    """The k-th largest of n values, 1 <= k <= n.

    The sample's guess is set to be reached by somewhat more than k values, so that the partition sees few. Where most
    values are one and the same (counts), the guess is the answer; np.partition alone is 30 times slower on such.
    """
    expected = k / _STRIDE
    place = int(expected + 3 * expected**0.5) + 4
    sample = np.sort(values[::_STRIDE])
    if place <= sample.size:
        guess = sample[-place]
        above = values[values > guess]
        if above.size >= k:
            return np.partition(above, above.size - k)[above.size - k]
        if np.count_nonzero(values >= guess) >= k:
            return guess
    return np.partition(values, values.size - k)[values.size - k]
