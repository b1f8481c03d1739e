"""What the report shows beyond metrics, computed once: examples, reliability, and what moves the scores."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pyarrow as pa

from tasks.checkpoints import checkpointed
from tasks.contributions import measure_contributions
from tasks.examples import collect_examples
from tasks.matrices import use_one_blas_thread
from tasks.ml.calibration import pool_reliability
from tasks.ml.folds import hash_ids
from tasks.ml.statuses import TRAINED
from tasks.ml.thresholds import BINS
from tasks.recommenders import MODEL, Scene
from tasks.references import Evaluation, Explanation, FeatureMatrix, FileRef, Summary
from tasks.storage import Storage

N_EXAMPLES = 20  # the best, and as many of the worst
N_MEASURED = 200  # playlists whose contributions are measured

RELIABILITY = pa.schema(
    [("low", pa.float64()), ("n_candidates", pa.int64()), ("n_held_out", pa.int64()), ("mean_predicted", pa.float64())]
)


@checkpointed(task_run_name="explain models")
def explain_models(
    *,
    storage: str,
    batches: list[FileRef],
    models: list[FileRef],
    features: FeatureMatrix,
    memberships: FileRef,
    tracks: FileRef,
    counts: FileRef,
    evaluations: list[Evaluation],
    summary: Summary,
) -> Explanation:
    """Examples of the best and worst playlists, pooled reliability, and contributions by group of features.

    batches, models: as they were trained. Only the playlists that are shown or measured are scored, at most
    2 N_EXAMPLES + N_MEASURED, whatever the size of the run.
    """
    use_one_blas_thread()
    store = Storage(storage)
    scene = Scene(storage, features, memberships, tracks, counts, "outer")
    found = _playlists_with_model(store, models, summary)
    n_candidates, n_held_out = found["n_candidates"].sum(), found["n_held_out"].sum()
    is_known = bool(n_candidates)
    return Explanation(
        examples=collect_examples(scene, batches, models, _best_and_worst(found)),
        reliability=_write_reliability(store, evaluations),
        contributions=measure_contributions(scene, batches, models, _draw(found)),
        brier=float((found["brier"] * found["n_candidates"]).sum() / n_candidates) if is_known else None,
        base_rate=float(n_held_out / n_candidates) if is_known else None,
    )


def _playlists_with_model(store: Storage, models: list[FileRef], summary: Summary) -> pd.DataFrame:
    """Where each evaluated playlist with a model and a held-out track is (batch, place), with what it scored."""
    places = []
    for number, file in enumerate(models):
        status = store.read_table(file, columns=["playlist_id", "status"]).to_pandas()
        status = status.assign(batch=number, place=np.arange(len(status)))
        places.append(status[status["status"] == TRAINED])
    columns = ["playlist_id", "recommender", "ndcg_at_500", "brier", "n_candidates", "n_held_out"]
    metrics = store.read_table(summary.metrics_file, columns=columns).to_pandas()
    metrics = metrics[(metrics["recommender"] == MODEL) & metrics["ndcg_at_500"].notna()]
    return pd.concat(places).merge(metrics, on="playlist_id", validate="one_to_one")


def _best_and_worst(found: pd.DataFrame) -> pd.DataFrame:
    """Columns batch, place, group ("best", "worst") and position (from 1, the most extreme): nobody is in both."""
    ordered = found.sort_values(["ndcg_at_500", "playlist_id"], ascending=[False, True], ignore_index=True)
    n_best = min(N_EXAMPLES, (len(ordered) + 1) // 2)
    n_worst = min(N_EXAMPLES, len(ordered) - n_best)
    best, worst = ordered.head(n_best), ordered.tail(n_worst)[::-1]
    parts = [
        part.assign(group=name, position=np.arange(1, len(part) + 1))
        for name, part in (("best", best), ("worst", worst))
    ]
    return pd.concat(parts)[["batch", "place", "group", "position"]]


def _draw(found: pd.DataFrame) -> pd.DataFrame:
    """The playlists with the smallest hashes of their ids: always the same ones."""
    order = np.argsort(hash_ids(found["playlist_id"].to_numpy(object)), kind="stable")
    return found.iloc[np.sort(order[:N_MEASURED])][["batch", "place"]]


def _write_reliability(store: Storage, evaluations: list[Evaluation]) -> FileRef:
    pooled = np.zeros((2, BINS), np.int64)
    for evaluation in evaluations:
        counts = store.read_table(evaluation.calibration).to_pandas()
        pooled[:, counts["bin"]] += counts[["n_held_out", "n_candidates"]].to_numpy().T
    bins = pool_reliability(pooled)
    columns = {name: getattr(bins, name) for name in RELIABILITY.names}
    return store.write_table("reliability", pa.table(columns, schema=RELIABILITY))
