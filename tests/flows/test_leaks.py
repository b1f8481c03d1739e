"""Nothing that only held-out memberships know reaches a model, a constant or a threshold; metrics are recomputed."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest

from tasks import prepare
from tasks.batches import load_batch
from tasks.matrices import load_catalogue, load_counts
from tasks.ml.folds import HELD_OUT
from tasks.recommenders import Scene, score_models
from tasks.references import FeatureMatrix, FileRef
from tests.conftest import SAMPLE_WAREHOUSE, RunFlow, computed, manifest_of
from tests.tasks.test_train import records

Manifest = dict[str, Any]


def chosen_before_the_evaluation(manifest: Manifest) -> dict[str, list[str]]:
    stages = ("train_batch_inner", "train_batch_outer", "choose_thresholds")
    return {stage: [file["path"] for file in manifest["files"][stage]] for stage in stages}


def files_of(storage: Path, stage: str) -> list[FileRef]:
    return [FileRef.model_validate(file) for file in manifest_of(storage)["files"][stage]]


def test_tracks_that_only_held_out_memberships_know_change_no_model_byte(
    reference: Path, storage: Path, run_flow: RunFlow, tmp_path: Path
) -> None:
    """Their features and their names are scrambled, the ids and with them the folds stay."""
    ids = pd.read_parquet(reference / manifest_of(reference)["files"]["extract_tracks"][0]["path"])["track_id"]
    is_cold = load_counts(str(reference), files_of(reference, "prepare_batches")[-1], "outer") == 0
    hidden = set(ids[is_cold])
    assert len(hidden) > 200
    source = Path(shutil.copytree(SAMPLE_WAREHOUSE, tmp_path / "source"))
    rng = np.random.default_rng(0)
    headers = pd.read_parquet(source / "tracks_headers.parquet")
    is_hidden = headers["trackid"].isin(hidden)
    numbers = [name for name in headers if name not in ("trackid", "time_signature")]
    headers.loc[is_hidden, numbers] = rng.lognormal(3, 3, (int(is_hidden.sum()), len(numbers)))
    headers.to_parquet(source / "tracks_headers.parquet", index=False)
    playlists = pd.read_parquet(source / "playlists.parquet")
    is_hidden = playlists["track_uri"].isin(hidden)
    for name in ("artist_name", "album_name"):
        playlists.loc[is_hidden, name] = [f"{chr(65 + i % 26)} {i}" for i in range(int(is_hidden.sum()))]
    playlists.to_parquet(source / "playlists.parquet", index=False)

    manifest = run_flow(storage, source=str(source))
    assert {"extract_tracks", "build_features_inner", "build_features_outer", "evaluate_batch"} <= set(
        computed(manifest)
    )
    assert chosen_before_the_evaluation(manifest) == chosen_before_the_evaluation(manifest_of(reference))
    assert manifest["metrics"]["model"] != manifest_of(reference)["metrics"]["model"]


def test_shuffled_held_out_memberships_change_no_model_byte(
    reference: Path, run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add_folds = prepare._add_folds

    def shuffle(*arguments: Any) -> pa.Table:
        table = add_folds(*arguments)
        track, is_held_out = table["track"].to_numpy().copy(), table["fold"].to_numpy() == HELD_OUT
        track[is_held_out] = np.random.default_rng(0).permutation(track[is_held_out])
        return table.set_column(1, "track", pa.array(track, pa.int32()))

    monkeypatch.setattr(prepare, "_add_folds", shuffle)
    manifest = run_flow(tmp_path)
    assert chosen_before_the_evaluation(manifest) == chosen_before_the_evaluation(manifest_of(reference))
    assert manifest["metrics"]["model"] != manifest_of(reference)["metrics"]["model"]


def ndcg(scores: np.ndarray, is_relevant: np.ndarray, ties: np.ndarray) -> float:
    order = sorted(range(len(scores)), key=lambda i: (-scores[i], ties[i]))[:500]
    gains = sum(1 / math.log2(2 + rank) for rank, i in enumerate(order) if is_relevant[i])
    return gains / sum(1 / math.log2(2 + rank) for rank in range(min(500, int(is_relevant.sum()))))


def test_metrics_are_what_plain_python_makes_of_the_files(reference: Path) -> None:
    storage, files = str(reference), manifest_of(reference)["files"]
    matrices = map(FeatureMatrix.model_validate_json, records(reference, "build-features"))
    (features,) = (found for found in matrices if found.file.path == files["build_features_outer"][0]["path"])
    *batches, memberships, counts = files_of(reference, "prepare_batches")
    tracks = files_of(reference, "extract_tracks")[0]
    scene = Scene(storage, features, memberships, tracks, counts, "outer")
    batch, models = load_batch(storage, batches[0]), files_of(reference, "train_batch_outer")[0]
    metrics = pd.read_parquet(reference / files["summarize"][1]["path"])
    metrics = metrics[metrics["recommender"] == "model"].set_index("playlist_id")
    ties, is_cold = load_catalogue(storage, tracks).tie_order, load_counts(storage, counts, "outer") == 0
    for j, scores in enumerate(score_models(scene, batch, models)):
        assert scores is not None
        own = batch.track[batch.indptr[j] : batch.indptr[j + 1]]
        held_out = own[batch.fold[batch.indptr[j] : batch.indptr[j + 1]] == HELD_OUT]
        is_relevant = np.isin(np.arange(len(scores)), held_out)
        candidates = np.setdiff1d(np.arange(len(scores)), np.setdiff1d(own, held_out))
        found = metrics.loc[batch.playlist_ids[j]]
        parts = {"": candidates, "cold_": candidates[is_cold[candidates]], "warm_": candidates[~is_cold[candidates]]}
        for name, part in parts.items():
            assert found[f"{name}n_candidates"] == len(part)
            if is_relevant[part].any():
                expected = ndcg(scores[part], is_relevant[part], ties[part])
                assert found[f"{name}ndcg_at_500"] == pytest.approx(expected)
        is_predicted = scores[candidates] >= found["threshold"]
        n_true = (is_predicted & is_relevant[candidates]).sum()
        assert found["f1"] == pytest.approx(2 * n_true / (is_predicted.sum() + len(held_out)))
