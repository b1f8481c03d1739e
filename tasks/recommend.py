"""One batch of playlists to the tracks that their models would add."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
from prefect import task

from tasks.batches import Batch, Fold, load_batch
from tasks.checkpoints import checkpointed
from tasks.matrices import load_catalogue, once_per_process, use_one_blas_thread
from tasks.ml.selection import top_k_outside
from tasks.past_runs import ModelRun, find_models, verify_served
from tasks.recommenders import Scene, score_models
from tasks.references import FeatureMatrix, FileRef, Recommendations
from tasks.storage import Storage, rechunk

ROW_GROUP = 1 << 17
RECOMMENDATIONS = pa.schema(
    [("playlist_id", pa.string()), ("rank", pa.int32()), ("track_id", pa.string()), ("score", pa.float64())]
)


@task(task_run_name="find models of {run}", persist_result=False)
def find_model_run(storage: str, run: str) -> ModelRun:
    """The run whose models are used, with every file of it intact. Never cached: another run may be champion now.

    Raises InputError if there is no such run or a file of it is damaged.
    """
    store = Storage(storage)
    found = find_models(store, run)
    verify_served(store, found.folder, found.served)
    return found


@checkpointed(task_run_name="recommend batch {number}")
def recommend_batch(
    *,
    storage: str,
    batch: FileRef,
    models: FileRef,
    features: FeatureMatrix,
    memberships: FileRef,
    tracks: FileRef,
    counts: FileRef,
    trained_on: Fold,
    top: int,
    number: int,
) -> Recommendations:
    """The `top` tracks of the highest score per playlist that are not in it, whatever part of it was trained on.

    score: the model's logit. Equal scores are ranked by a hash of the track. A playlist without a model gets no
    row; one that leaves fewer than `top` tracks gets all of them. Memory holds a tile of scores and a row group.
    """
    use_one_blas_thread()
    store, playlists = Storage(storage), load_batch(storage, batch)
    scene = Scene(storage, features, memberships, tracks, counts, trained_on)
    found = rechunk(_recommend(scene, playlists, models, top), RECOMMENDATIONS, ROW_GROUP)
    statuses = store.read_table(models, columns=["status"])["status"].to_pylist()
    return Recommendations(
        file=store.write_row_groups("recommendations", RECOMMENDATIONS, found),
        playlists_by_status=dict(sorted(Counter(statuses).items())),
    )


def _recommend(scene: Scene, playlists: Batch, models: FileRef, top: int) -> Iterator[pa.Table]:
    track_ids = load_track_ids(scene.storage, scene.tracks)
    ties = load_catalogue(scene.storage, scene.tracks).tie_order
    for j, scores in enumerate(score_models(scene, playlists, models)):
        if scores is None:
            continue
        inside = playlists.track[playlists.indptr[j] : playlists.indptr[j + 1]]
        best = top_k_outside(scores, inside, top, ties)
        columns = [
            pa.repeat(playlists.playlist_ids[j], len(best)),
            pa.array(np.arange(1, len(best) + 1, dtype=np.int32)),
            track_ids.take(pa.array(best)),
            pa.array(scores[best]),
        ]
        yield pa.table(columns, schema=RECOMMENDATIONS)


@once_per_process
def load_track_ids(storage: str, tracks: FileRef) -> pa.Array:
    """The id of each extracted track, in the order of the tracks file."""
    return Storage(storage).read_table(tracks, columns=["track_id"])["track_id"].combine_chunks()
