"""Models on the disk are models for scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.batches import load_batch
from tasks.matrices import load_catalogue, load_matrix
from tasks.recommenders import Scene, score_models
from tasks.references import FeatureMatrix, FileRef, Preparation
from tasks.storage import Storage
from tests.conftest import manifest_of


def records(storage: Path, task: str) -> list[str]:
    return [json.loads(path.read_text())["result"].split("\n")[1] for path in storage.glob(f"records/{task}-*")]


@pytest.fixture
def files(reference: Path) -> dict[str, list[FileRef]]:
    stages = manifest_of(reference)["files"]
    return {stage: [FileRef.model_validate(file) for file in found] for stage, found in stages.items()}


def test_scikit_learn_predicts_the_same_with_our_coefficients(reference: Path, files: dict[str, list[FileRef]]) -> None:
    """Shared columns and the playlist's own affinity columns, side by side, for every candidate."""
    storage = str(reference)
    prepared = Preparation.model_validate_json(next(iter(records(reference, "prepare-batches"))))
    (features,) = [
        found
        for found in map(FeatureMatrix.model_validate_json, records(reference, "build-features"))
        if found.file in files["build_features_outer"]
    ]
    scene = Scene(storage, features, prepared.memberships, files["extract_tracks"][0], prepared.tracks, "outer")
    batch, models = load_batch(storage, prepared.batches[1]), files["train_batch_outer"][1]
    X, catalogue = load_matrix(storage, features.file), load_catalogue(storage, scene.tracks)
    rows = Storage(storage).read_table(models).to_pylist()
    for j, (row, scores) in enumerate(zip(rows, score_models(scene, batch, models), strict=True)):
        is_train, _ = batch.masks(j, "outer", len(X))
        own = [
            np.log1p([(codes[is_train] == code).sum() for code in codes])
            for codes in (catalogue.artist, catalogue.album)
        ]
        loaded = LogisticRegression()
        loaded.classes_ = np.array([False, True])
        loaded.coef_ = np.array([row["coefficients"] + row["playlist_coefficients"]])
        loaded.intercept_ = np.array([row["intercept"]])
        expected = loaded.decision_function(np.column_stack([X, *(column.astype(np.float32) for column in own)]))
        assert np.abs(expected - scores)[~is_train].max() < 1e-9


def test_the_file_says_how_to_use_its_coefficients(reference: Path, files: dict[str, list[FileRef]]) -> None:
    schema = Storage(str(reference)).read_table(files["train_batch_outer"][0]).schema
    about = json.loads(schema.metadata[b"model"])
    audio = about["constants"]["features"]
    assert set(audio) < set(about["features"])
    assert audio["tempo"].keys() == {"median", "min", "max"}
    assert about["playlist_features"] == ["artist_affinity", "album_affinity"]
    assert about["regularization"] == 0.3


def test_every_playlist_has_a_row(reference: Path, files: dict[str, list[FileRef]]) -> None:
    (joined,) = [file for file in files["summarize"] if "all_models" in file.path]
    rows = Storage(str(reference)).read_table(joined).to_pylist()
    assert [row["playlist_id"] for row in rows] == sorted(row["playlist_id"] for row in rows)
    assert len(rows) == 24
    assert all(row["n_tracks"] - row["n_positives"] == round(0.2 * row["n_tracks"]) for row in rows)
