"""Choosing one regularisation for all playlists of a run. Pure numerics: no Prefect, no Google, no I/O."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def choose_regularization(candidates: Sequence[float], ndcg: NDArray[np.floating]) -> float:
    """The C with the best mean NDCG@500 on the inner fold; of equal means the smaller C, which is the simpler model.

    candidates: (c,) positive, in any order. ndcg: (c, p), one row per candidate, the same playlists in every row; a
    playlist without an inner track is NaN in all of them and left out (one without a model counts as its worst, 0).
    If every playlist is NaN, or there is none, the smallest C.

    Raises ValueError without candidates, if shapes disagree, or if a playlist is NaN under some candidates only: the
    means would be over different playlists.
    """
    if not len(candidates) or ndcg.ndim != 2 or len(ndcg) != len(candidates):
        raise ValueError(f"{len(candidates)} candidates need as many rows of NDCG, got shape {ndcg.shape}")
    is_missing = np.isnan(ndcg)
    if (is_missing != is_missing[0]).any():
        raise ValueError("every candidate must be judged on the same playlists")
    judged = ndcg[:, ~is_missing[0]].astype(np.float64)
    means = judged.mean(axis=1) if judged.size else np.zeros(len(candidates))
    best = np.flatnonzero(means == means.max())
    return float(np.asarray(candidates, np.float64)[best].min())
