"""Scores of tracks under linear models. Pure numerics: no Prefect, no Google, no I/O."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

TILE_BYTES = 1 << 26
ROWS = 1 << 14

Floats = NDArray[np.floating]


def score_tracks(X: Floats, coef: Floats, intercept: Floats) -> NDArray[np.float64]:
    """(p, n) logits of n tracks under p models, computed in float64 however X is stored.

    X: (n, d). coef: (p, d). intercept: (p,). The same as LogisticRegression.decision_function. Rows of X are widened a
    piece at a time, so that no second copy of X is needed.
    """
    scores = np.empty((len(coef), len(X)))
    for start in range(0, len(X), ROWS):
        rows = X[start : start + ROWS].astype(np.float64)
        scores[:, start : start + ROWS] = coef @ rows.T
    return scores + intercept[:, None]


def score_in_tiles(X: Floats, coef: Floats, intercept: Floats) -> Iterator[NDArray[np.float64]]:
    """The rows of `score_tracks` one model after the other, with at most TILE_BYTES of scores in memory."""
    n_models = max(1, TILE_BYTES // (8 * max(1, len(X))))
    for start in range(0, len(coef), n_models):
        yield from score_tracks(X, coef[start : start + n_models], intercept[start : start + n_models])
