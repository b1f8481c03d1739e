"""How well a score vector finds a playlist's held-out tracks. Pure numerics: no Prefect, no Google, no I/O.

Candidates are the tracks outside the playlist's train set, the held-out ones are relevant. Candidates are ranked by
score, ties by the smaller `tie_order` (a hash of the track, never its position). Ranking metrics also exist over the
cold candidates alone (in no train playlist) and over the warm ones. Means over playlists skip NaN and count it.

Every rank metric is a function of the ranks of the relevant candidates. These come from counting the candidates ahead
of each, not from sorting: a few passes per relevant candidate, each many times faster than a sort.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.ml.selection import count_above

Numbers = NDArray[np.number]
Ints = NDArray[np.integer]
Bools = NDArray[np.bool_]

_NDCG_DEPTH = 500
_RECALL_DEPTH = 100
_PAGE = 10  # one click shows the next ten tracks
_NO_HIT = 51  # clicks when none of the 500 shown is relevant
_RANK_METRICS = ("r_precision", "ndcg_at_500", "recall_at_100", "clicks", "auc")
_SUBSETS = ("", "cold_", "warm_")


@dataclass(frozen=True)
class _Placement:
    """Where the relevant ones of n candidates stand: ranks (r,) from 1, ascending, and the AUC."""

    n: int
    ranks: Ints
    auc: float


def rank_metrics(scores: Numbers, is_relevant: Bools, tie_order: Ints) -> dict[str, float]:
    """R-precision, NDCG@500, recall@100, clicks and AUC of one ranking.

    scores, is_relevant, tie_order: (n,), tie_order unique. With R relevant candidates:
    `r_precision`: share of relevant ones among the first R. `recall_at_100`: share of the R found in the first 100.
    `ndcg_at_500`: sum of 1 / log2(1 + rank) over the hits in the first 500, over the same sum for ranks 1 to
    min(500, R) (Jarvelin and Kekalainen 2002, binary gains). `clicks`: floor((rank of the first hit - 1) / 10), and
    51 if none is in the first 500 (Chen et al. 2018, the RecSys Challenge's definition of all three). `auc`: the
    probability that a relevant candidate scores above an irrelevant one, a tie counting one half.

    All NaN without a relevant candidate; AUC is NaN without an irrelevant one too. Raises ValueError if a score is
    NaN or the shapes differ.
    """
    _check(scores, is_relevant, tie_order)
    return _measure(_place(scores, is_relevant, tie_order, np.zeros(scores.shape, dtype=bool))[0])


def classification_metrics(scores: Numbers, is_positive: Bools, threshold: float) -> dict[str, float]:
    """Accuracy, precision, recall and F1 of predicting every score at or above the threshold.

    scores, is_positive: (n,). Precision is 0 when nothing is predicted. Recall and F1 are NaN without a positive; F1
    is 0 when there are positives and none is predicted. Accuracy is NaN when n is 0. A NaN threshold predicts
    nothing. Raises ValueError if a score is NaN or the shapes differ.
    """
    _check(scores, is_positive)
    is_predicted = scores >= np.float64(threshold)  # in float64 even if the scores are not, see thresholds.py
    n_true = _n_set(is_predicted & is_positive)
    return _classify(scores.size, _n_set(is_positive), _n_set(is_predicted), n_true)


def playlist_metrics(
    scores: Numbers, *, is_train: Bools, is_held_out: Bools, is_cold: Bools, tie_order: Ints, threshold: float
) -> dict[str, float]:
    """All held-out metrics of one playlist and recommender, over the tracks outside its train set.

    All vectors (n,), one entry per track; is_train and is_held_out belong to this playlist, is_cold says that the
    track is in no playlist's train set. Returns the keys of `rank_metrics` over all candidates, over cold ones
    (`cold_`) and over warm ones (`warm_`); those of `classification_metrics` over all; and per subset `n_candidates`
    and `n_held_out`. A subset without a held-out track has NaN metrics. Scores of train tracks are not looked at; a
    track flagged both train and held out is no candidate.

    Raises ValueError if a candidate's score is NaN or the shapes differ.
    """
    _check_shapes(scores, is_train, is_held_out, is_cold, tie_order)
    candidates = np.flatnonzero(~is_train)
    scores, tie_order = scores[candidates], tie_order[candidates]
    is_held_out, is_cold = is_held_out[candidates], is_cold[candidates]
    classified = classification_metrics(scores, is_held_out, threshold)
    placements = _place(scores, is_held_out, tie_order, is_cold)
    return _name([_measure(placement) for placement in placements], classified, _count(is_held_out, is_cold))


def metrics_without_model(*, is_train: Bools, is_held_out: Bools, is_cold: Bools) -> dict[str, float]:
    """What a playlist without a model scores: the keys of `playlist_metrics`, and the worst values.

    Rank metrics 0, clicks 51, AUC one half; nothing is predicted, so precision, recall and F1 are 0 and accuracy is
    the share of candidates that are not held out. NaN exactly where `playlist_metrics` has NaN.
    """
    _check_shapes(is_train, is_held_out, is_cold)
    is_held_out, is_cold = is_held_out[~is_train], is_cold[~is_train]
    counts = _count(is_held_out, is_cold)
    # Ranks beyond the last candidate and beyond every depth: no metric counts them as hits.
    placements = [_Placement(n, np.full(n_held_out, n + _NDCG_DEPTH), 0.5) for n, n_held_out in counts]
    classified = _classify(is_held_out.size, _n_set(is_held_out), 0, 0)
    return _name([_measure(placement) for placement in placements], classified, counts)


def train_metrics(scores: Numbers, is_positive: Bools, threshold: float) -> dict[str, float]:
    """`train_accuracy` and `train_f1` over a playlist's fit rows, defined as in `classification_metrics`."""
    classified = classification_metrics(scores, is_positive, threshold)
    return {"train_accuracy": classified["accuracy"], "train_f1": classified["f1"]}


def _place(scores: Numbers, is_relevant: Bools, tie_order: Ints, is_cold: Bools) -> list[_Placement]:
    """The placements among all candidates, the cold ones and the warm ones."""
    relevant = np.flatnonzero(is_relevant)
    relevant = relevant[np.argsort(tie_order[relevant])]
    counts = _count_rivals(scores, tie_order, is_cold, relevant)
    n_cold, is_cold = _n_set(is_cold), is_cold[relevant]
    return [
        _placement(scores.size, counts.sum(axis=0)),
        _placement(n_cold, counts[1][:, is_cold]),
        _placement(scores.size - n_cold, counts[0][:, ~is_cold]),
    ]


def _count_rivals(scores: Numbers, tie_order: Ints, is_cold: Bools, relevant: Ints) -> Ints:
    """For each relevant candidate the warm [0] and the cold [1] candidates that rival it, (2, 3, p).

    The three: those with a higher score; with the same score (itself included); with the same score and an earlier
    tie_order. relevant: (p,) positions, tie_order ascending.
    """
    levels, level_of = np.unique(scores[relevant], return_inverse=True)
    strata = scores[~is_cold], scores[is_cold]
    above = np.stack([count_above(levels, stratum) for stratum in strata])
    tied = np.stack([count_above(levels, stratum, or_equal=True) for stratum in strata]) - above
    counts = np.stack([above[:, level_of], tied[:, level_of], np.zeros((2, relevant.size), dtype=np.int64)], axis=1)
    for level in np.flatnonzero(tied.sum(axis=0) > 1):
        members = np.flatnonzero(scores == levels[level])
        ours = np.flatnonzero(level_of == level)
        for stratum, rivals in enumerate((members[~is_cold[members]], members[is_cold[members]])):
            later = count_above(tie_order[relevant[ours]], tie_order[rivals], or_equal=True)
            counts[stratum, 2, ours] = rivals.size - later
    return counts


def _placement(n: int, counts: Ints) -> _Placement:
    """Ranks and AUC of the r relevant among n candidates, from their rivals counted as in `_count_rivals`, (3, r).

    AUC is the Mann-Whitney statistic over relevant and irrelevant; the pairs of relevant ones sum to r * r / 2.
    """
    above, tied, tied_ahead = counts
    r = above.size
    n_won_twice = int(np.sum(2 * (n - above) - tied))
    auc = (n_won_twice - r * r) / (2 * r * (n - r)) if 0 < r < n else math.nan
    return _Placement(n, np.sort(1 + above + tied_ahead), auc)


def _measure(placement: _Placement) -> dict[str, float]:
    ranks, r = placement.ranks, placement.ranks.size
    if r == 0:
        return dict.fromkeys(_RANK_METRICS, math.nan)
    discounts = 1 / np.log2(1 + np.arange(1, min(_NDCG_DEPTH, r) + 1))
    hits = ranks[ranks <= _NDCG_DEPTH]
    return {
        "r_precision": _n_set(ranks <= r) / r,
        "ndcg_at_500": float(np.sum(1 / np.log2(1 + hits)) / np.sum(discounts)),
        "recall_at_100": _n_set(ranks <= _RECALL_DEPTH) / r,
        "clicks": float((hits[0] - 1) // _PAGE) if hits.size else float(_NO_HIT),
        "auc": placement.auc if placement.n > r else math.nan,
    }


def _classify(n: int, n_positive: int, n_predicted: int, n_true: int) -> dict[str, float]:
    n_wrong = n_positive + n_predicted - 2 * n_true
    return {
        "accuracy": (n - n_wrong) / n if n else math.nan,
        "precision": n_true / n_predicted if n_predicted else 0.0,
        "recall": n_true / n_positive if n_positive else math.nan,
        "f1": 2 * n_true / (n_positive + n_predicted) if n_positive else math.nan,
    }


def _count(is_held_out: Bools, is_cold: Bools) -> list[tuple[int, int]]:
    """Candidates and held-out tracks among all, the cold and the warm."""
    subsets = (np.ones(is_cold.shape, dtype=bool), is_cold, ~is_cold)
    return [(_n_set(subset), _n_set(is_held_out & subset)) for subset in subsets]


def _n_set(flags: Bools) -> int:
    return int(np.count_nonzero(flags))


def _name(
    ranked: list[dict[str, float]], classified: dict[str, float], counts: list[tuple[int, int]]
) -> dict[str, float]:
    """One flat dict, the metrics of a subset under its prefix."""
    named = dict(classified)
    for prefix, metrics, (n_candidates, n_held_out) in zip(_SUBSETS, ranked, counts, strict=True):
        named |= {f"{prefix}{name}": value for name, value in metrics.items()}
        named |= {f"{prefix}n_candidates": n_candidates, f"{prefix}n_held_out": n_held_out}
    return named


def _check(scores: Numbers, *others: NDArray) -> None:
    _check_shapes(scores, *others)
    if np.isnan(scores).any():
        raise ValueError("NaN scores cannot be ranked")


def _check_shapes(*vectors: NDArray) -> None:
    shapes = {vector.shape for vector in vectors}
    if len(shapes) > 1 or len(vectors[0].shape) != 1:
        raise ValueError(f"expected vectors of one length, got shapes {sorted(shapes)}")
