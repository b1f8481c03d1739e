"""Metrics of many playlists in a few numbers. Pure numerics: no Prefect, no Google, no I/O."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import ArrayLike

Description = dict[str, float | int | None]

_QUANTILES = {"q10": 0.10, "q25": 0.25, "median": 0.50, "q75": 0.75, "q90": 0.90}
_KEYS = ["playlist_id", "recommender"]


def describe(values: ArrayLike) -> Description:
    """Mean, median, q10, q25, q75, q90 (linear interpolation), std, n and n_excluded of a vector.

    Values that are not finite (NaN: undefined for that playlist) are excluded and counted in n_excluded; n counts the
    others. std is the sample's (n - 1 in the denominator), so that std / sqrt(n) is the standard error of the mean;
    None below two values. Everything but the counts is None when n is 0. Plain Python numbers, ready for JSON.
    """
    numbers = np.asarray(values, dtype=np.float64)
    kept = numbers[np.isfinite(numbers)]
    counts = {"n": int(kept.size), "n_excluded": int(numbers.size - kept.size)}
    if kept.size == 0:
        return {"mean": None, **dict.fromkeys(_QUANTILES), "std": None, **counts}
    quantiles = np.quantile(kept, list(_QUANTILES.values())).tolist()
    std = float(kept.std(ddof=1)) if kept.size > 1 else None
    return {"mean": float(kept.mean()), **dict(zip(_QUANTILES, quantiles, strict=True)), "std": std, **counts}


def describe_metrics(frame: pd.DataFrame) -> dict[str, dict[str, Description]]:
    """`describe` of every metric of every recommender, recommenders in alphabetical order.

    frame: one row per playlist and recommender, with columns playlist_id, recommender and metrics. Columns that are
    not numbers (a status, a reason, a flag) are left out. Raises ValueError if a row names no recommender.
    """
    if frame["recommender"].isna().any():
        raise ValueError("a row without a recommender belongs to no summary")
    metrics = frame.drop(columns=_KEYS).select_dtypes("number")
    return {
        str(name): {str(metric): describe(rows[metric].to_numpy(np.float64, na_value=np.nan)) for metric in metrics}
        for name, rows in metrics.groupby(frame["recommender"], observed=True)
    }


@dataclass(frozen=True)
class Comparison:
    """One recommender against the best of the others on the same n playlists; difference: the mean of ours - rival's.

    standard_error: of the difference, over playlists; NaN for one playlist.
    """

    rival: str
    mean: float
    rival_mean: float
    difference: float
    standard_error: float
    n: int
    n_better: int
    n_worse: int


def compare_pairs(values: pd.DataFrame, *, ours: str) -> Comparison | None:
    """Compare one column with the best of the others, playlist by playlist.

    values: one row per playlist, a column per recommender, NaN where undefined; rows with a NaN are left out. The best
    other is the one of the highest mean; of equal means the first by name. None if no playlist, or no other, is left.
    """
    rivals = sorted(set(values.columns) - {ours})
    kept = values.dropna()
    if kept.empty or ours not in kept or not rivals:
        return None
    rival = str(kept[rivals].mean().idxmax())
    difference = kept[ours] - kept[rival]
    return Comparison(
        rival=rival,
        mean=float(kept[ours].mean()),
        rival_mean=float(kept[rival].mean()),
        difference=float(difference.mean()),
        standard_error=float(difference.std(ddof=1) / np.sqrt(len(kept))),
        n=len(kept),
        n_better=int((difference > 0).sum()),
        n_worse=int((difference < 0).sum()),
    )
