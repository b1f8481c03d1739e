"""Thresholds, chosen on the inner fold: the held-out tracks are never looked at."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.batches import load_batch
from tasks.checkpoints import checkpointed
from tasks.matrices import load_counts, use_one_blas_thread
from tasks.ml.thresholds import BINS, combine, histogram, own_threshold, pooled_threshold
from tasks.recommenders import RECOMMENDERS, score_batch
from tasks.references import FeatureMatrix, FileRef, Validation
from tasks.storage import Storage

THRESHOLDS = pa.schema([("playlist_id", pa.string()), ("recommender", pa.string()), ("threshold", pa.float64())])
HISTOGRAM = pa.schema(
    [("recommender", pa.string()), ("bin", pa.int32()), ("n_positive", pa.int64()), ("n_all", pa.int64())]
)


@checkpointed(task_run_name="validate batch {number}")
def validate_batch(
    *,
    storage: str,
    batch: FileRef,
    models: FileRef,
    features: FeatureMatrix,
    counts: FileRef,
    tracks: FileRef,
    number: int,
) -> Validation:
    """How well each recommender separates the inner fold, per playlist and pooled.

    Candidates are the tracks of the outer train part outside the playlist's inner train part: nothing here depends
    on a held-out membership.
    """
    use_one_blas_thread()
    playlists = load_batch(storage, batch)
    is_known = load_counts(storage, counts, "outer") > 0
    own, pooled = [], np.zeros((len(RECOMMENDERS), 2, BINS), np.int64)
    scored = score_batch(
        storage, playlists, models=models, features=features, counts=counts, tracks=tracks, fold="inner"
    )
    for j, scores_by_name in enumerate(scored):
        is_train, is_inner = playlists.masks(j, "inner", len(is_known))
        candidates = np.flatnonzero(is_known & ~is_train)
        for i, (name, scores) in enumerate(scores_by_name.items()):
            if scores is None:
                continue
            own.append((playlists.playlist_ids[j], name, own_threshold(scores[candidates], is_inner[candidates])))
            pooled[i] += histogram(scores[candidates], is_inner[candidates])
    return _write(Storage(storage), own, pooled)


def _write(store: Storage, own: list[tuple[str, str, float]], pooled: np.ndarray) -> Validation:
    recommender, bins = np.nonzero(pooled[:, 1])
    counts = {
        "recommender": [RECOMMENDERS[i] for i in recommender],
        "bin": bins.astype(np.int32),
        "n_positive": pooled[recommender, 0, bins],
        "n_all": pooled[recommender, 1, bins],
    }
    rows = [dict(zip(THRESHOLDS.names, row, strict=True)) for row in own]
    return Validation(
        thresholds=store.write_table("validation", pa.Table.from_pylist(rows, schema=THRESHOLDS)),
        histogram=store.write_table("histograms", pa.table(counts, schema=HISTOGRAM)),
    )


@checkpointed(task_run_name="choose thresholds")
def choose_thresholds(*, storage: str, batches: list[FileRef], validations: list[Validation]) -> FileRef:
    """The threshold of every playlist and recommender: the midpoint of its own and the pooled one.

    Returns columns playlist_id, recommender, threshold; a row group per batch. NULL only where no playlist of the
    sample has an inner track.
    """
    store = Storage(storage)
    pooled = {name: pooled_threshold(counts) for name, counts in _pool(store, validations).items()}
    tables = (
        _combine(load_batch(storage, batch).playlist_ids, store.read_table(validation.thresholds).to_pandas(), pooled)
        for batch, validation in zip(batches, validations, strict=True)
    )
    return store.write_row_groups("thresholds", THRESHOLDS, tables)


def _pool(store: Storage, validations: list[Validation]) -> dict[str, np.ndarray]:
    totals = {name: np.zeros((2, BINS), np.int64) for name in RECOMMENDERS}
    for validation in validations:
        frame = store.read_table(validation.histogram).to_pandas()
        for name, part in frame.groupby("recommender"):
            totals[str(name)][:, part["bin"]] += part[["n_positive", "n_all"]].to_numpy().T
    return totals


def _combine(playlist_ids: list[str], own: pd.DataFrame, pooled: dict[str, float]) -> pa.Table:
    index = pd.MultiIndex.from_product([playlist_ids, RECOMMENDERS], names=["playlist_id", "recommender"])
    known = own.set_index(["playlist_id", "recommender"])["threshold"].reindex(index)
    thresholds = np.empty(len(index))
    for name in RECOMMENDERS:
        is_name = index.get_level_values("recommender") == name
        thresholds[is_name] = combine(known[is_name].to_numpy(), pooled[name])
    frame = index.to_frame(index=False).assign(threshold=thresholds)
    return pa.Table.from_pandas(frame, schema=THRESHOLDS, preserve_index=False)
