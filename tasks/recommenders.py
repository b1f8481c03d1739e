"""The scores that are compared: the models', and those of simple rules on the same candidates."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tasks.batches import Batch, Fold
from tasks.matrices import load_catalogue, load_counts, load_matrix, load_train, once_per_process
from tasks.ml.baselines import item_knn_scores, item_profiles, popularity_scores, same_artist_album_scores
from tasks.ml.playlist_rows import build_own_rows, chunk_playlists, score_differences
from tasks.ml.scoring import score_in_tiles
from tasks.ml.statuses import TRAINED
from tasks.playlist_columns import load_playlist_columns
from tasks.references import FeatureMatrix, FileRef
from tasks.storage import Storage

MODEL = "model"
BASELINE = "same_artist_album"  # the simple rule that a model has to beat
RECOMMENDERS = (MODEL, BASELINE, "item_knn", "popularity")

Scores = NDArray[np.floating]


@dataclass(frozen=True)
class Scene:
    """What scores are made of, in one fold: everybody has seen its train part only."""

    storage: str
    features: FeatureMatrix
    memberships: FileRef
    tracks: FileRef
    counts: FileRef
    fold: Fold


def score_batch(scene: Scene, playlists: Batch, models: FileRef) -> Iterator[dict[str, Scores | None]]:
    """Per playlist, in the batch's order, the scores (n_tracks,) of each recommender; None without a model.

    The model's score of a train track is the one that it would have as a candidate.
    """
    catalogue = load_catalogue(scene.storage, scene.tracks)
    popularity = popularity_scores(load_counts(scene.storage, scene.counts, scene.fold))
    profiles = load_profiles(scene.storage, scene.memberships, scene.fold, len(popularity))
    indptr, train_tracks = playlists.train(scene.fold)
    for j, model_scores in enumerate(score_models(scene, playlists, models)):
        own = train_tracks[indptr[j] : indptr[j + 1]]
        yield {
            MODEL: model_scores,
            BASELINE: same_artist_album_scores(own, catalogue.artist, catalogue.album),
            "item_knn": item_knn_scores(own, profiles),
            "popularity": popularity,
        }


def score_models(scene: Scene, playlists: Batch, models: FileRef) -> Iterator[Scores | None]:
    """The models' logits of all tracks, playlist by playlist; None without a model.

    playlists: a batch, or some of its playlists; models: the file of the whole batch. Scores are good until the next
    playlist's are asked for.
    """
    has_model, coef, playlist_coef, intercept = read_models(scene, playlists, models)
    X = load_matrix(scene.storage, scene.features.file)
    columns = load_playlist_columns(scene.storage, scene.features, scene.tracks, scene.counts, scene.fold, False)
    indptr, tracks = playlists.train(scene.fold)
    for part in chunk_playlists(indptr, tracks, columns):
        edges = indptr[part.start : part.stop + 1]
        own = build_own_rows(X, edges - edges[0], tracks[edges[0] : edges[-1]], columns)
        added = score_differences(own, X, coef[part], playlist_coef[part])
        for j, scores in enumerate(score_in_tiles(X, coef[part], intercept[part])):
            entries = slice(own.indptr[j], own.indptr[j + 1])
            scores[own.rows[entries]] += added[entries]
            yield scores if has_model[part.start + j] else None


def read_models(
    scene: Scene, playlists: Batch, models: FileRef
) -> tuple[list[bool], NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """(has_model, coef, coef of the playlist's own columns, intercept), with zeros for playlists without a model."""
    features = scene.features
    rows = Storage(scene.storage).read_rows(models, "playlist_id", playlists.playlist_ids).to_pylist()
    has_model = [row["status"] == TRAINED for row in rows]
    coef = np.zeros((len(rows), len(features.columns)))
    playlist_coef, intercept = np.zeros((len(rows), len(features.per_playlist))), np.zeros(len(rows))
    for j, row in enumerate(rows):
        if has_model[j]:
            coef[j], playlist_coef[j] = row["coefficients"], row["playlist_coefficients"]
            intercept[j] = row["intercept"]
    return has_model, coef, playlist_coef, intercept


@once_per_process
def load_profiles(storage: str, memberships: FileRef, fold: Fold, n_tracks: int) -> csr_array:
    """The train part of a fold as item-kNN reads it."""
    return item_profiles(*load_train(storage, memberships, fold), n_tracks)
