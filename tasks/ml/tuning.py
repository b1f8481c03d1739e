"""Choosing one regularisation for all playlists of a run. Pure numerics: no Prefect, no Google, no I/O."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def choose_regularization(candidates: Sequence[float], quality: NDArray[np.floating]) -> float:
    """The C of the best mean quality on the inner fold; of equal means the smaller C, which is the simpler model.

    candidates: (c,) positive, in any order. quality: (c, p), higher is better, one row per candidate and the same
    playlists in every row: NDCG@500, or the mean of its cold and warm values. Overall NDCG alone prefers a larger C
    than cold and warm candidates each do, because in a sample "in no train playlist" is itself a hint. A playlist
    without an inner track is NaN in all rows and left out; one without a model counts with its worst, 0. If every
    playlist is NaN, or there is none, the smallest C.

    Raises ValueError without candidates, if shapes disagree, or if a playlist is NaN under some candidates only: the
    means would be over different playlists.
    """
    if not len(candidates) or quality.ndim != 2 or len(quality) != len(candidates):
        raise ValueError(f"{len(candidates)} candidates need as many rows of quality, got shape {quality.shape}")
    is_missing = np.isnan(quality)
    if (is_missing != is_missing[0]).any():
        raise ValueError("every candidate must be judged on the same playlists")
    judged = quality[:, ~is_missing[0]].astype(np.float64)
    means = judged.mean(axis=1) if judged.size else np.zeros(len(candidates))
    best = np.flatnonzero(means == means.max())
    return float(np.asarray(candidates, np.float64)[best].min())
