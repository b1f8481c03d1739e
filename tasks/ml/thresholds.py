"""Score thresholds that maximise F1: a playlist's own, and one pooled over many. Pure numerics: no Prefect, no I/O.

A track is predicted when its score is at or above the threshold; compare in float64, as a threshold may lie between
two neighbouring float32 scores. All thresholds live on the axis of the scores (the logit).

The pooled threshold comes from histograms, so that its memory does not grow with the number of playlists or tracks:
histograms of two sets of playlists add up to the histogram of their union.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tasks.ml.selection import count_above

Numbers = NDArray[np.number]
Bools = NDArray[np.bool_]

_BINS_PER_UNIT = 64  # a power of two: every edge, and every float32 score times it, is exact
_LIMIT = 20  # sigmoid(-20) is 2e-9, rarer than one track in any catalogue

EDGES: NDArray[np.float64] = np.arange(-_LIMIT * _BINS_PER_UNIT, _LIMIT * _BINS_PER_UNIT + 1) / _BINS_PER_UNIT
EDGES.setflags(write=False)

BINS = EDGES.size + 1  # bin b holds EDGES[b - 1] <= score < EDGES[b]; the first and the last bin are open


def own_threshold(scores: Numbers, is_positive: Bools) -> float:
    """The threshold that maximises the F1 of one playlist on the given candidates.

    scores, is_positive: (n,). Only a positive's score can be the lowest one accepted at the optimum. The threshold is
    the midpoint between that score and the next lower one among all candidates, or the score itself where there is
    nothing lower, the next lower is -inf, or no number lies between. Of equal F1 the higher threshold wins. NaN
    without a positive. No sort of the n scores.

    Raises ValueError if a score is NaN or the shapes differ.
    """
    _check(scores, is_positive)
    accepted, n_true = np.unique(scores[is_positive], return_counts=True)
    if accepted.size == 0:
        return float("nan")
    n_predicted = count_above(accepted, scores, or_equal=True)
    chosen = accepted[_best_cut(_at_or_above(n_true), n_predicted, n_positive=int(n_true.sum()))]
    lower = scores[scores < chosen]
    return _between(float(lower.max()), float(chosen)) if lower.size else float(chosen)


def histogram(scores: Numbers, is_positive: Bools) -> NDArray[np.int64]:
    """Counts of scores between EDGES, (2, BINS) int64: the positives, and all candidates.

    scores, is_positive: (n,). A score on an edge belongs to the bin above it. Raises ValueError if a score is NaN or
    the shapes differ.
    """
    _check(scores, is_positive)
    clipped = np.clip(scores, EDGES[0] - 1 / _BINS_PER_UNIT, EDGES[-1])
    bins = np.floor(clipped * _BINS_PER_UNIT).astype(np.int64) + (_LIMIT * _BINS_PER_UNIT + 1)
    return np.stack([np.bincount(part, minlength=BINS) for part in (bins[is_positive], bins)])


def pooled_threshold(histogram: NDArray[np.int64]) -> float:
    """The edge that maximises the pooled (micro) F1 of all playlists whose histograms were added up.

    histogram: (2, BINS) counts as `histogram` returns them. Scores below EDGES[0] are never accepted. Of equal F1 the
    higher edge wins. NaN without a positive. Raises ValueError if the shape is another one.
    """
    if histogram.shape != (2, BINS):
        raise ValueError(f"a histogram has shape {(2, BINS)}, got {histogram.shape}")
    n_positive, n_all = histogram
    if n_positive.sum() == 0:
        return float("nan")
    cut = _best_cut(_at_or_above(n_positive)[1:], _at_or_above(n_all)[1:], n_positive=int(n_positive.sum()))
    return float(EDGES[cut])


def combine(own: NDArray[np.floating], pooled: float) -> NDArray[np.float64]:
    """Thresholds of p playlists: the midpoint of each own one and the pooled one, pooled where own is NaN.

    own: (p,). Few positives make a playlist's own threshold noisy; the pooled one pulls it back. NaN everywhere if
    pooled is NaN, which happens only when no playlist had a positive.
    """
    own = np.asarray(own, dtype=np.float64)
    return np.where(np.isnan(own), pooled, (own + pooled) / 2)


def _check(scores: Numbers, is_positive: Bools) -> None:
    if scores.ndim != 1 or scores.shape != is_positive.shape:
        raise ValueError(f"scores {scores.shape} and is_positive {is_positive.shape} must be vectors of one length")
    if np.isnan(scores).any():
        raise ValueError("NaN scores have no threshold")


def _at_or_above(counts: NDArray[np.int64]) -> NDArray[np.int64]:
    return np.cumsum(counts[::-1])[::-1]


def _best_cut(n_true: NDArray[np.int64], n_predicted: NDArray[np.int64], *, n_positive: int) -> int:
    """The last position with the largest F1 = 2 true / (predicted + positives), cuts in ascending order.

    Equal fractions of integers below 2**53 divide to equal floats, so ties are exact.
    """
    f1 = 2 * n_true / (n_predicted + n_positive)
    return int(f1.size - 1 - np.argmax(f1[::-1]))


def _between(lower: float, upper: float) -> float:
    """A number above lower and at most upper, the midpoint if it is one (halved first, so that it cannot overflow)."""
    middle = lower / 2 + upper / 2
    return middle if lower < middle < upper else upper
