"""What is chosen on the inner fold, C and thresholds: the held-out tracks are never looked at."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.batches import load_batch
from tasks.checkpoints import checkpointed
from tasks.matrices import load_catalogue, load_counts, use_one_blas_thread
from tasks.ml.metrics import rank_metrics
from tasks.ml.thresholds import BINS, combine, histogram, own_threshold, pooled_threshold
from tasks.ml.tuning import choose_regularization as best_regularization
from tasks.recommenders import MODEL, RECOMMENDERS, Scene, score_batch
from tasks.references import FeatureMatrix, FileRef, Regularization, Validation
from tasks.storage import Storage

THRESHOLDS = pa.schema([("playlist_id", pa.string()), ("recommender", pa.string()), ("threshold", pa.float64())])
OWN = THRESHOLDS.append(pa.field("quality", pa.float64()))
HISTOGRAM = pa.schema(
    [("recommender", pa.string()), ("bin", pa.int32()), ("n_positive", pa.int64()), ("n_all", pa.int64())]
)


@checkpointed(task_run_name="validate batch {number}, C={regularization}")
def validate_batch(
    *,
    storage: str,
    batch: FileRef,
    models: FileRef,
    features: FeatureMatrix,
    memberships: FileRef,
    tracks: FileRef,
    counts: FileRef,
    regularization: float,
    number: int,
) -> Validation:
    """How well each recommender finds the inner fold, per playlist and pooled.

    Candidates are the tracks of the outer train part outside the playlist's inner train part: nothing here depends
    on a held-out membership.
    """
    use_one_blas_thread()
    playlists = load_batch(storage, batch)
    known = np.flatnonzero(load_counts(storage, counts, "outer"))
    is_cold = load_counts(storage, counts, "inner")[known] == 0
    ties = load_catalogue(storage, tracks).tie_order[known]
    own, pooled = [], np.zeros((len(RECOMMENDERS), 2, BINS), np.int64)
    scene = Scene(storage, features, memberships, tracks, counts, "inner")
    for j, scores_by_name in enumerate(score_batch(scene, playlists, models)):
        is_train, is_inner = (mask[known] for mask in playlists.masks(j, "inner", int(known[-1]) + 1))
        for i, (name, all_scores) in enumerate(scores_by_name.items()):
            row = {"playlist_id": playlists.playlist_ids[j], "recommender": name, "threshold": None, "quality": 0.0}
            if all_scores is not None:
                scores = all_scores[known]
                row["threshold"] = own_threshold(scores[~is_train], is_inner[~is_train])
                row["quality"] = _quality(scores, is_train, is_inner, is_cold, ties)
                pooled[i] += histogram(scores[~is_train], is_inner[~is_train])
            own.append(row)
    return _write(Storage(storage), own, pooled)


def _quality(
    scores: np.ndarray, is_train: np.ndarray, is_inner: np.ndarray, is_cold: np.ndarray, ties: np.ndarray
) -> float | None:
    """The mean of NDCG@500 over the cold and over the warm candidates, of what is defined; None if neither is.

    Overall NDCG prefers a larger C than each of them: in a sample, "in no train playlist" is itself a hint.
    """
    parts = [
        rank_metrics(scores[of_part], is_inner[of_part], ties[of_part])["ndcg_at_500"]
        for of_part in (~is_train & is_cold, ~is_train & ~is_cold)
    ]
    defined = [value for value in parts if not np.isnan(value)]
    return sum(defined) / len(defined) if defined else None


def _write(store: Storage, own: list[dict[str, Any]], pooled: np.ndarray) -> Validation:
    recommender, bins = np.nonzero(pooled[:, 1])
    counts = {
        "recommender": [RECOMMENDERS[i] for i in recommender],
        "bin": bins.astype(np.int32),
        "n_positive": pooled[recommender, 0, bins],
        "n_all": pooled[recommender, 1, bins],
    }
    return Validation(
        thresholds=store.write_table("validation", pa.Table.from_pylist(own, schema=OWN)),
        histogram=store.write_table("histograms", pa.table(counts, schema=HISTOGRAM)),
    )


@checkpointed(task_run_name="choose regularization")
def choose_regularization(
    *, storage: str, candidates: list[float], validations: list[list[Validation]]
) -> Regularization:
    """The C whose models rank the inner fold best, over all playlists; validations: per candidate, per batch."""
    store = Storage(storage)
    quality = np.array([_qualities(store, batches) for batches in validations])
    is_judged = ~np.isnan(quality).any(axis=0)
    quality[:, ~is_judged] = np.nan
    means = [float(values[is_judged].mean()) if is_judged.any() else None for values in quality]
    return Regularization(
        chosen=best_regularization(candidates, quality),
        quality={f"{C:g}": mean for C, mean in zip(candidates, means, strict=True)},
    )


def _qualities(store: Storage, batches: list[Validation]) -> np.ndarray:
    frames = [store.read_table(validation.thresholds).to_pandas() for validation in batches]
    found = pd.concat(frames, ignore_index=True)
    return found.loc[found["recommender"] == MODEL, "quality"].to_numpy(np.float64, na_value=np.nan)


@checkpointed(task_run_name="choose thresholds")
def choose_thresholds(*, storage: str, validations: list[Validation], is_half: bool) -> FileRef:
    """The threshold of every playlist and recommender: the midpoint of its own and the pooled one.

    is_half: the models' are the notebook's instead, logit 0 (a probability of one half). Returns columns playlist_id,
    recommender, threshold; a row group per batch. NULL only where no playlist of the sample has an inner track.
    """
    store = Storage(storage)
    pooled = {name: pooled_threshold(counts) for name, counts in _pool(store, validations).items()}
    return store.write_row_groups(
        "thresholds",
        THRESHOLDS,
        (_combine(store.read_table(validation.thresholds).to_pandas(), pooled, is_half) for validation in validations),
    )


def _pool(store: Storage, validations: list[Validation]) -> dict[str, np.ndarray]:
    totals = {name: np.zeros((2, BINS), np.int64) for name in RECOMMENDERS}
    for validation in validations:
        frame = store.read_table(validation.histogram).to_pandas()
        for name, part in frame.groupby("recommender"):
            totals[str(name)][:, part["bin"]] += part[["n_positive", "n_all"]].to_numpy().T
    return totals


def _combine(own: pd.DataFrame, pooled: dict[str, float], is_half: bool) -> pa.Table:
    thresholds = own["threshold"].to_numpy(np.float64, na_value=np.nan).copy()
    for name, limit in pooled.items():
        is_name = (own["recommender"] == name).to_numpy()
        thresholds[is_name] = 0.0 if is_half and name == MODEL else combine(thresholds[is_name], limit)
    frame = own[["playlist_id", "recommender"]].assign(threshold=thresholds)
    return pa.Table.from_pandas(frame, schema=THRESHOLDS, preserve_index=False)
