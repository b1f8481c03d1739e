"""One batch of playlists to metrics."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa

from tasks.batches import Batch, load_batch
from tasks.checkpoints import checkpointed
from tasks.matrices import load_catalogue, load_counts, use_one_blas_thread
from tasks.ml.calibration import brier_score
from tasks.ml.folds import hash_ids
from tasks.ml.metrics import metrics_without_model, playlist_metrics, train_metrics
from tasks.ml.thresholds import BINS, histogram
from tasks.recommenders import MODEL, Scene, score_batch
from tasks.references import Evaluation, FeatureMatrix, FileRef
from tasks.storage import Storage

RANK_METRICS = ("r_precision", "ndcg_at_500", "recall_at_100", "clicks", "auc")
CLASS_METRICS = ("accuracy", "precision", "recall", "f1", "train_accuracy", "train_f1", "brier")
SUBSETS = ("", "cold_", "warm_")

METRICS = pa.schema(
    [("playlist_id", pa.string()), ("recommender", pa.string()), ("n_tracks", pa.int64()), ("threshold", pa.float64())]
    + [(f"{subset}{name}", pa.float64()) for subset in SUBSETS for name in RANK_METRICS]
    + [(name, pa.float64()) for name in CLASS_METRICS]
    + [(f"{subset}{name}", pa.int64()) for subset in SUBSETS for name in ("n_candidates", "n_held_out")]
)

CALIBRATION = pa.schema([("bin", pa.int32()), ("n_held_out", pa.int64()), ("n_candidates", pa.int64())])


@checkpointed(task_run_name="evaluate batch {number}")
def evaluate_batch(
    *,
    storage: str,
    batch: FileRef,
    models: FileRef,
    features: FeatureMatrix,
    memberships: FileRef,
    tracks: FileRef,
    counts: FileRef,
    thresholds: FileRef,
    fraction: float,
    number: int,
) -> Evaluation:
    """Metrics on the held-out tracks, one row per playlist and recommender, and a histogram of the models' logits.

    fraction: the part of all playlists that is evaluated, chosen by a hash of the id, so always the same ones.
    """
    use_one_blas_thread()
    playlists = load_batch(storage, batch)
    is_cold = load_counts(storage, counts, "outer") == 0
    ties = load_catalogue(storage, tracks).tie_order
    chosen = hash_ids(playlists.playlist_ids) / 2.0**64 <= fraction
    limits = _load_thresholds(Storage(storage), thresholds, playlists)
    rows, pooled = [], np.zeros((2, BINS), np.int64)
    scene = Scene(storage, features, memberships, tracks, counts, "outer")
    for j, scores_by_name in enumerate(score_batch(scene, playlists, models)):
        if not chosen[j]:
            continue
        is_train, is_held_out = playlists.masks(j, "outer", len(is_cold))
        masks = {"is_train": is_train, "is_held_out": is_held_out, "is_cold": is_cold}
        for name, scores in scores_by_name.items():
            limit = limits[playlists.playlist_ids[j], name]
            rows.append(
                {"playlist_id": playlists.playlist_ids[j], "recommender": name, "threshold": limit}
                | {"n_tracks": int(is_train.sum() + is_held_out.sum())}
                | _measure(scores, limit, ties, masks, is_model=name == MODEL)
            )
        if (logits := scores_by_name[MODEL]) is not None and is_held_out.any():
            pooled += histogram(logits[~is_train], is_held_out[~is_train])
    return _write(Storage(storage), rows, pooled)


def _write(store: Storage, rows: list[dict[str, Any]], pooled: np.ndarray) -> Evaluation:
    bins = np.flatnonzero(pooled[1])
    counts = {"bin": bins.astype(np.int32), "n_held_out": pooled[0, bins], "n_candidates": pooled[1, bins]}
    return Evaluation(
        metrics=store.write_table("metrics", pa.Table.from_pylist(rows, schema=METRICS)),
        calibration=store.write_table("calibration", pa.table(counts, schema=CALIBRATION)),
    )


def _measure(
    scores: np.ndarray | None, limit: float, ties: np.ndarray, masks: dict[str, np.ndarray], *, is_model: bool
) -> dict[str, float | None]:
    """Held-out metrics, and for the model its Brier score and the notebook's train metrics (fit rows).

    NULL where not defined.
    """
    if scores is None:
        found = metrics_without_model(**masks)
    else:
        found = playlist_metrics(scores, **masks, tie_order=ties, threshold=limit)
    if is_model and scores is not None:
        is_fit, is_candidate = ~masks["is_cold"], ~masks["is_train"]
        found |= train_metrics(scores[is_fit], masks["is_train"][is_fit], limit)
        found["brier"] = brier_score(scores[is_candidate], masks["is_held_out"][is_candidate])
    return {name: None if np.isnan(value) else value for name, value in found.items()}


def _load_thresholds(store: Storage, thresholds: FileRef, playlists: Batch) -> dict[tuple[str, str], float]:
    rows = store.read_rows(thresholds, "playlist_id", playlists.playlist_ids).to_pylist()
    return {
        (row["playlist_id"], row["recommender"]): np.nan if row["threshold"] is None else row["threshold"]
        for row in rows
    }
