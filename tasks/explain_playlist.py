"""What a model would add to one playlist, and why."""

from __future__ import annotations

import difflib
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from tasks.batches import Batch, load_batch
from tasks.errors import InputError
from tasks.examples import read_names
from tasks.matrices import load_catalogue, load_matrix, use_one_blas_thread
from tasks.ml.contributions import SOURCES, contributions_by_source
from tasks.ml.playlist_rows import build_own_rows
from tasks.ml.selection import top_k, top_k_outside
from tasks.ml.statuses import TRAINED
from tasks.past_runs import ModelRun, verify_served
from tasks.playlist_columns import load_playlist_columns
from tasks.recommenders import Scene, read_models, score_models
from tasks.references import FileRef, Served
from tasks.storage import Storage

N_INSIDE = 5  # tracks that are shown of the playlist itself
MAX_COMPARED = 50_000  # ids among which a similar one is looked for


class ShownTrack(NamedTuple):
    """A track as a person reads it; why: what each of SOURCES adds to the score, compared with an average track."""

    artist: str
    name: str
    score: float
    why: dict[str, float]


class ExplainedPlaylist(NamedTuple):
    """inside: those of its n_tracks tracks that the model finds most fitting. recommended: the best outside."""

    playlist_id: str
    models_of: str
    n_tracks: int
    inside: list[ShownTrack]
    recommended: list[ShownTrack]


def explain_playlist(storage: str, run: ModelRun, playlist_id: str, top: int) -> ExplainedPlaylist:
    """The `top` best tracks outside a playlist, and the best ones in it, with what speaks for each.

    Only what this playlist needs is verified. Raises InputError if that is damaged, or if the run has no such playlist
    or no model of it.
    """
    use_one_blas_thread()
    store = Storage(storage)
    served = _only_batch(run.served, _find(store, run, playlist_id))
    verify_served(store, run.folder, served)
    (batch_file,), (models,) = served.preparation.batches, served.models
    batch = load_batch(storage, batch_file)
    playlist = batch.take(np.array([batch.playlist_ids.index(playlist_id)]))
    counts = served.preparation.tracks
    scene = Scene(storage, served.features, served.preparation.memberships, served.tracks, counts, served.fold)
    (scores,) = score_models(scene, playlist, models)
    if scores is None:
        raise InputError(_without_model(store, models, playlist_id))
    ties = load_catalogue(storage, served.tracks).tie_order
    best = top_k_outside(scores, playlist.track, top, ties)
    inside = playlist.track[top_k(scores[playlist.track], N_INSIDE, ties[playlist.track])]
    chosen = np.concatenate([inside, best])
    shown = _show(scene, playlist, models, chosen, scores)
    n = len(inside)
    return ExplainedPlaylist(playlist_id, run.folder, len(playlist.track), shown[:n], shown[n:])


def _only_batch(served: Served, number: int) -> Served:
    """What recommendations for the playlists of one batch are computed from."""
    preparation = served.preparation.model_copy(update={"batches": [served.preparation.batches[number]]})
    return served.model_copy(update={"preparation": preparation, "models": [served.models[number]]})


def _find(store: Storage, run: ModelRun, playlist_id: str) -> int:
    """The number of the batch that a playlist is in. Of the other batches only the ids are read, and not verified."""
    known: list[str] = []
    for number, models in enumerate(run.served.models):
        try:
            ids = store.read_table(models, columns=["playlist_id"])["playlist_id"].to_pylist()
        except (OSError, pa.ArrowException):
            verify_served(store, run.folder, _only_batch(run.served, number))  # says what is wrong
            raise
        if playlist_id in ids:
            return number
        known += ids if len(known) < MAX_COMPARED else []
    similar = difflib.get_close_matches(playlist_id, known[:MAX_COMPARED], n=3)
    hint = f"similar: {', '.join(map(repr, similar))}" if similar else f"for example {known[0]!r}"
    raise InputError(
        f"there is no playlist {playlist_id!r} among the {run.served.preparation.n_playlists:,} of this run ({hint}): "
        "give one of these, or train with more playlists."
    )


def _without_model(store: Storage, models: FileRef, playlist_id: str) -> str:
    (row,) = store.read_rows(models, "playlist_id", [playlist_id]).select(["status", "reason"]).to_pylist()
    if row["status"] == TRAINED:
        raise ValueError(f"playlist {playlist_id!r} has a model, but no scores")
    return f"playlist {playlist_id!r} has no model: {row['status']} ({row['reason']})."


def _show(scene: Scene, playlist: Batch, models: FileRef, tracks: np.ndarray, scores: np.ndarray) -> list[ShownTrack]:
    names = read_names(Storage(scene.storage), scene.tracks, tracks.tolist())
    why = _contributions(scene, playlist, models, tracks)
    shown = []
    for name, track, row in zip(names, tracks, why.tolist(), strict=True):
        artist, title = name["artist_name"] or "", name["track_name"] or ""
        shown.append(ShownTrack(artist, title, float(scores[track]), dict(zip(SOURCES, row, strict=True))))
    return shown


def _contributions(scene: Scene, playlist: Batch, models: FileRef, tracks: np.ndarray) -> np.ndarray:
    """(n, len(SOURCES)): columns that all playlists share count from their mean over all tracks, its own ones from 0.

    A track of the playlist itself is seen, as in its score, without its own membership.
    """
    _, coef, playlist_coef, _ = read_models(scene, playlist, models)
    X = load_matrix(scene.storage, scene.features.file)
    columns = load_playlist_columns(scene.storage, scene.features, scene.tracks, scene.counts, scene.fold, False)
    own = build_own_rows(X, *playlist.train(scene.fold), columns)
    place = np.minimum(np.searchsorted(own.rows, tracks), len(own.rows) - 1)
    is_own = own.rows[place] == tracks
    values, extra = X[tracks].astype(np.float64), np.zeros((len(tracks), playlist_coef.shape[1]))
    if own.X is not None:
        values[is_own] = own.X[place[is_own]]
    if own.extra is not None:
        extra[is_own] = own.extra[place[is_own]]
    return contributions_by_source(
        scene.features.columns + scene.features.per_playlist,
        np.concatenate([coef[0], playlist_coef[0]]),
        np.hstack([values - X.mean(axis=0, dtype=np.float64), extra]),
    )
