"""The scores that are compared: the models', and those of simple rules on the same candidates."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from tasks.batches import Batch, Fold
from tasks.matrices import load_catalogue, load_counts, load_matrix
from tasks.ml.baselines import popularity_scores, same_artist_album_scores
from tasks.ml.models import TRAINED
from tasks.ml.scoring import score_in_tiles
from tasks.references import FeatureMatrix, FileRef
from tasks.storage import Storage

MODEL = "model"
BASELINES = ("popularity", "same_artist_album")
RECOMMENDERS = (MODEL, *BASELINES)

Scores = NDArray[np.float64]


def score_batch(
    storage: str,
    playlists: Batch,
    *,
    models: FileRef,
    features: FeatureMatrix,
    counts: FileRef,
    tracks: FileRef,
    fold: Fold,
) -> Iterator[dict[str, Scores | None]]:
    """Per playlist, in the batch's order, the scores (n_tracks,) of each recommender; None without a model.

    Every recommender has seen the train part of `fold` only.
    """
    catalogue = load_catalogue(storage, tracks)
    popularity = popularity_scores(load_counts(storage, counts, fold))
    indptr, train_tracks = playlists.train(fold)
    for j, model_scores in enumerate(_model_scores(storage, models, features)):
        own = train_tracks[indptr[j] : indptr[j + 1]]
        same = same_artist_album_scores(own, catalogue.artist, catalogue.album)
        yield {MODEL: model_scores, "popularity": popularity, "same_artist_album": same}


def _model_scores(storage: str, models: FileRef, features: FeatureMatrix) -> Iterator[Scores | None]:
    table = Storage(storage).read_table(models, columns=["status", "intercept", "coefficients"])
    has_model = [status == TRAINED for status in table["status"].to_pylist()]
    coef = np.array([w for w in table["coefficients"].to_pylist() if w is not None])
    intercept = table["intercept"].drop_null().to_numpy()
    scores = score_in_tiles(load_matrix(storage, features.file), coef, intercept)
    for has in has_model:
        yield next(scores) if has else None
