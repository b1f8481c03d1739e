"""One batch of playlists to models."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pyarrow as pa

from tasks.batches import Batch, Fold, load_batch
from tasks.checkpoints import checkpointed
from tasks.matrices import load_counts, load_matrix, once_per_process, use_one_blas_thread
from tasks.ml.logistic import SharedRows
from tasks.ml.models import BatchModels, fit_batch
from tasks.ml.negatives import weigh_rows
from tasks.ml.statuses import TRAINED
from tasks.playlist_columns import load_playlist_columns
from tasks.references import FeatureMatrix, FileRef
from tasks.storage import Storage

MODELS = pa.schema(
    [
        ("playlist_id", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("n_tracks", pa.int64()),
        ("n_positives", pa.int64()),
        ("intercept", pa.float64()),
        ("coefficients", pa.list_(pa.float64())),
        ("playlist_coefficients", pa.list_(pa.float64())),
        ("n_iter", pa.int32()),
        ("is_converged", pa.bool_()),
        ("gradient_norm", pa.float64()),
    ]
)


@checkpointed(task_run_name="train batch {number} ({fold})")
def train_batch(
    *,
    storage: str,
    batch: FileRef,
    features: FeatureMatrix,
    tracks: FileRef,
    counts: FileRef,
    fold: Fold,
    regularization: float,
    n_negatives: int,
    seed: int,
    number: int,
) -> FileRef:
    """Fit one model per playlist of the batch on the train part of a fold.

    Returns a file with one row per playlist; without a model intercept and coefficients are NULL. Its metadata hold
    what is needed to use the coefficients elsewhere: the order of the features, shared and per playlist, and their
    constants (those of the embeddings are in the feature stage's files).
    """
    use_one_blas_thread()
    playlists = load_batch(storage, batch)
    shared = load_shared_rows(storage, features.file, counts, fold, n_negatives, seed)
    columns = load_playlist_columns(storage, features, tracks, counts, fold, True)
    models = fit_batch(shared, *playlists.train(fold), columns, C=regularization)
    about = {
        "features": features.columns,
        "playlist_features": features.per_playlist,
        "constants": load_constants(storage, features.file),
        "regularization": regularization,
    }
    return Storage(storage).write_table("models", _to_table(playlists, models, json.dumps(about, sort_keys=True)))


def _to_table(playlists: Batch, models: BatchModels, about: str) -> pa.Table:
    has_model = [status == TRAINED for status in models.status]

    def known(values: np.ndarray) -> list[Any]:
        return [value if has else None for value, has in zip(values.tolist(), has_model, strict=True)]

    columns = {
        "playlist_id": playlists.playlist_ids,
        "status": models.status,
        "reason": models.reason,
        "n_tracks": [int(n) for n in playlists.indptr[1:] - playlists.indptr[:-1]],
        "n_positives": models.n_positives,
        "intercept": known(models.intercept),
        "coefficients": known(models.coef),
        "playlist_coefficients": known(models.extra_coef),
        "n_iter": models.n_iter,
        "is_converged": has_model,
        "gradient_norm": models.gradient_norm,
    }
    return pa.table(columns, schema=MODELS.with_metadata({"model": about}))


@once_per_process
def load_constants(storage: str, features: FileRef) -> dict[str, Any]:
    """What the feature stage computed of the train tracks; in a bucket it costs a download of the whole matrix."""
    with Storage(storage).open_parquet(features) as parquet:
        constants: dict[str, Any] = json.loads(parquet.schema_arrow.metadata[b"constants"])
    return constants


@once_per_process
def load_shared_rows(
    storage: str, features: FileRef, counts: FileRef, fold: Fold, n_negatives: int, seed: int
) -> SharedRows:
    """The rows that all models of a fold are fitted on, with their weights."""
    is_fit = load_counts(storage, counts, fold) > 0
    return SharedRows(load_matrix(storage, features), weigh_rows(is_fit, n_negatives=n_negatives, seed=seed))
