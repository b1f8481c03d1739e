"""How much each group of features moves the scores of some playlists."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.batches import Batch, load_batch
from tasks.matrices import load_catalogue, load_matrix
from tasks.ml.contributions import dense_contributions, sparse_contributions, split_coefficients
from tasks.ml.playlist_rows import build_own_rows
from tasks.playlist_columns import load_playlist_columns
from tasks.recommenders import Scene, read_models
from tasks.references import FileRef
from tasks.storage import Storage

N_ROWS = 10_000  # tracks that stand for all candidates

CONTRIBUTIONS = pa.schema(
    [("playlist_id", pa.string()), ("feature_group", pa.string()), ("spread", pa.float64()), ("lift", pa.float64())]
)


def measure_contributions(scene: Scene, batches: list[FileRef], models: list[FileRef], chosen: pd.DataFrame) -> FileRef:
    """Spread and lift (tasks/ml/contributions.py) of every group, one row per chosen playlist and group.

    chosen: columns batch and place say where a playlist with a model is. Groups of shared columns are measured on the
    N_ROWS tracks that come first by a hash, those outside the playlist's train part; the playlist's own columns,
    which are 0 for most tracks, on all candidates.
    """
    parts = []
    for number in chosen["batch"].unique():
        places = chosen.loc[chosen["batch"] == number, "place"].to_numpy()
        playlists = load_batch(scene.storage, batches[number]).take(places)
        parts += _measure_batch(scene, playlists, models[number])
    table = pa.Table.from_pandas(pd.concat(parts), preserve_index=False) if parts else CONTRIBUTIONS.empty_table()
    return Storage(scene.storage).write_table("contributions", table.cast(CONTRIBUTIONS))


def _measure_batch(scene: Scene, playlists: Batch, models: FileRef) -> list[pd.DataFrame]:
    _, coef, playlist_coef, _ = read_models(scene, playlists, models)
    X = load_matrix(scene.storage, scene.features.file)
    sample = np.flatnonzero(load_catalogue(scene.storage, scene.tracks).tie_order < N_ROWS)
    rows = X[sample].astype(np.float64)
    measured = []
    for j, playlist_id in enumerate(playlists.playlist_ids):
        is_train, is_held_out = playlists.masks(j, "outer", len(X))
        groups, C = split_coefficients(scene.features.columns, coef[j])
        candidates = (rows @ C)[~is_train[sample]]
        shared = dense_contributions(candidates, X[is_held_out].astype(np.float64) @ C)
        own = _measure_own(scene, playlists.take(np.array([j])), playlist_coef[j], is_held_out, len(X))
        spread, lift = (np.concatenate(pair) for pair in zip(shared, own, strict=True))
        names = groups + scene.features.per_playlist
        measured.append(
            pd.DataFrame({"playlist_id": playlist_id, "feature_group": names, "spread": spread, "lift": lift})
        )
    return measured


def _measure_own(
    scene: Scene, playlist: Batch, coef: np.ndarray, is_held_out: np.ndarray, n_tracks: int
) -> tuple[np.ndarray, np.ndarray]:
    """(spread, lift) of the columns that only this playlist has, over all of its candidates."""
    X = load_matrix(scene.storage, scene.features.file)
    columns = load_playlist_columns(scene.storage, scene.features, scene.tracks, scene.counts, scene.fold, False)
    own = build_own_rows(X, *playlist.train(scene.fold), columns)
    if own.extra is None:
        return np.empty(0), np.empty(0)
    is_candidate = ~own.is_positive
    values = own.extra[is_candidate] * coef
    n_candidates = n_tracks - int(np.count_nonzero(own.is_positive))
    return sparse_contributions(values, is_held_out[own.rows[is_candidate]], n_candidates, int(is_held_out.sum()))
