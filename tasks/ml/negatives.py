"""Which rows stand for all tracks that are not in a playlist. Pure numerics: no Prefect, no Google, no I/O."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def weigh_rows(is_fit: NDArray[np.bool_], *, n_negatives: int, seed: int) -> NDArray[np.float64]:
    """(n,) weights of the shared rows: 1 for each of the n_fit fit rows, or n_fit / M for M of them drawn at random.

    n_negatives: M; 0, or at least n_fit, takes all. The weighted sum over the sample is an unbiased estimate of the
    sum over all rows, so that a sampled model estimates the exact one, probabilities included.
    """
    rows = np.flatnonzero(is_fit)
    weight = np.zeros(len(is_fit))
    if not n_negatives or n_negatives >= len(rows):
        weight[rows] = 1.0
        return weight
    drawn = np.random.default_rng(seed).choice(rows, n_negatives, replace=False)
    weight[drawn] = len(rows) / n_negatives
    return weight
