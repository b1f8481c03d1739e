"""The k best of many scores, exactly and without sorting them all. Pure numerics: no Prefect, no Google, no I/O."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.number]
Ints = NDArray[np.integer]


def top_k(scores: Numbers, k: int, tie_order: Ints) -> NDArray[np.intp]:
    """Positions of the k largest scores, best first.

    scores: (n,). tie_order: (n,) unique integers; among equal scores the smaller one comes first, also where the ties
    straddle the k-th place. Time is linear in n, whatever the number of ties, plus the sort of the k chosen.

    Returns (min(k, n),) positions. Raises ValueError if k is negative, a score is NaN or the shapes differ.
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
    # Worst first and then reversed: negating the scores instead would overflow on unsigned counts.
    return chosen[np.lexsort((-tie_order[chosen], scores[chosen]))[::-1]]


def _choose(scores: Numbers, k: int, tie_order: Ints) -> NDArray[np.intp]:
    """Positions of the k best, 1 <= k <= n, in no particular order."""
    kth = scores.size - k
    threshold = np.partition(scores, kth)[kth]
    above = np.flatnonzero(scores > threshold)
    tied = np.flatnonzero(scores == threshold)
    n_missing = k - above.size
    if n_missing < tied.size:
        tied = tied[np.argpartition(tie_order[tied], n_missing - 1)[:n_missing]]
    return np.concatenate([above, tied])
