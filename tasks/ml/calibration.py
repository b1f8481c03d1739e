"""Whether predicted probabilities are what happens. Pure numerics: no Prefect, no Google, no I/O.

Logits of many playlists are pooled as histograms (tasks/ml/thresholds.py), which add up whatever the batches.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit

from tasks.ml.thresholds import BINS, EDGES

Numbers = NDArray[np.number]
Bools = NDArray[np.bool_]

_LOWEST, _HIGHEST = int(EDGES[0]), int(EDGES[-1])
_CENTRES = np.concatenate([EDGES[:1], (EDGES[:-1] + EDGES[1:]) / 2, EDGES[-1:]])


@dataclass(frozen=True)
class Reliability:
    """Candidates in r bins of logits, each one unit wide: low <= logit < low + 1; empty bins are left out.

    low: (r,) ascending; the first and the last possible bin take all that lies beyond. n_candidates, n_held_out: (r,).
    mean_predicted: (r,) mean probability of the bin's candidates, with each logit moved to the centre of its
    histogram bin, which changes it by at most 1 %.
    """

    low: NDArray[np.float64]
    n_candidates: NDArray[np.int64]
    n_held_out: NDArray[np.int64]
    mean_predicted: NDArray[np.float64]


def brier_score(logits: Numbers, is_positive: Bools) -> float:
    """The mean of (p - y)^2 over candidates (Brier 1950, halved for two classes), p = 1 / (1 + exp(-logit)).

    logits, is_positive: (n,). NaN without a positive, as every held-out metric: there was nothing to predict.
    """
    if not is_positive.any():
        return float("nan")
    return float(np.mean((expit(logits.astype(np.float64)) - is_positive) ** 2))


def pool_reliability(histogram: NDArray[np.int64]) -> Reliability:
    """The bins of a histogram (2, BINS) of held-out and all candidates, a unit of logit at a time.

    Raises ValueError if the shape is another one.
    """
    if histogram.shape != (2, BINS):
        raise ValueError(f"a histogram has shape {(2, BINS)}, got {histogram.shape}")
    unit = np.clip(np.floor(_CENTRES).astype(np.int64), _LOWEST, _HIGHEST - 1) - _LOWEST
    n_held_out, n_candidates = (np.bincount(unit, counts, _HIGHEST - _LOWEST).astype(np.int64) for counts in histogram)
    predicted = np.bincount(unit, histogram[1] * expit(_CENTRES), _HIGHEST - _LOWEST)
    kept = np.flatnonzero(n_candidates)
    return Reliability(
        low=(kept + _LOWEST).astype(np.float64),
        n_candidates=n_candidates[kept],
        n_held_out=n_held_out[kept],
        mean_predicted=predicted[kept] / n_candidates[kept],
    )
