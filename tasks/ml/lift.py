"""How far models are above a simple rule, and whether one run's are less far than another's. Pure numerics: no I/O.

Two runs may differ in data, playlists, held-out tracks and candidates, so their metrics cannot be compared. Each run's
lift over the same simple rule can: the rule meets what the models meet, playlist by playlist.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

N_RESAMPLES = 2000
LEVEL = 0.95
_BLOCK = 1 << 20  # weights in memory at a time

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class LiftDifference:
    """The mean lifts of two runs and their difference, ours - theirs, with the ends of its bootstrap interval.

    n, n_theirs: playlists of each; n_common: playlists of both.
    """

    lift: float
    their_lift: float
    difference: float
    low: float
    high: float
    n: int
    n_theirs: int
    n_common: int


def playlist_lifts(values: pd.DataFrame, *, ours: str, rule: str) -> pd.Series:
    """The lift of each playlist: ours - rule, by the index of values, sorted.

    values: one row per playlist, a column per recommender, NaN where undefined. Playlists for which one of the two is
    undefined are left out; nothing is left if a column is missing.
    """
    if not {ours, rule} <= set(values.columns):
        return pd.Series(dtype=np.float64)
    return (values[ours] - values[rule]).dropna().sort_index()


def compare_lifts(
    ours: pd.Series,
    theirs: pd.Series,
    *,
    n_resamples: int = N_RESAMPLES,
    level: float = LEVEL,
    rng: np.random.Generator,
) -> LiftDifference | None:
    """The difference of two mean lifts with a percentile interval from the Bayesian bootstrap.

    ours, theirs: lifts by playlist, as `playlist_lifts` returns them; each playlist once. In every resample each
    playlist of either run gets one exponential weight (Rubin, "The Bayesian bootstrap", 1981), which counts in both
    runs if it is in both: playlists in common are compared in pairs, others are independent, and no resample is ever
    empty. The same playlists in another order give the same numbers. The interval of a run and itself is 0 to 0.

    None if a run has fewer than two playlists: one says nothing about its spread. Memory: a few MB, or one weight per
    playlist if that is more.
    """
    if min(len(ours), len(theirs)) < 2:
        return None
    playlists = ours.index.union(theirs.index, sort=True)
    sides = [
        (side.reindex(playlists, fill_value=0.0).to_numpy(np.float64), playlists.isin(side.index))
        for side in (ours, theirs)
    ]
    resampled, n_rows = np.empty(n_resamples), max(1, _BLOCK // len(playlists))
    for start in range(0, n_resamples, n_rows):
        weights = rng.standard_exponential((min(n_rows, n_resamples - start), len(playlists)))
        our_mean, their_mean = (_weighted_mean(weights, *side) for side in sides)
        resampled[start : start + n_rows] = our_mean - their_mean
    low, high = np.quantile(resampled, [(1 - level) / 2, (1 + level) / 2])
    return LiftDifference(
        lift=float(ours.mean()),
        their_lift=float(theirs.mean()),
        difference=float(ours.mean() - theirs.mean()),
        low=float(low),
        high=float(high),
        n=len(ours),
        n_theirs=len(theirs),
        n_common=len(ours) + len(theirs) - len(playlists),
    )


def _weighted_mean(weights: Numbers, lifts: Numbers, is_member: NDArray[np.bool_]) -> Numbers:
    """The mean lift of one run's playlists in each resample; lifts of others are 0. weights: (resamples, playlists)."""
    return (weights @ lifts) / (weights @ is_member.astype(np.float64))
