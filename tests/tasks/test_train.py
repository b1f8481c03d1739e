"""Models on the disk are models for scikit-learn."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.batches import load_batch
from tasks.matrices import load_counts, load_matrix
from tasks.ml.scoring import score_tracks
from tasks.references import FileRef
from tasks.storage import Storage


@pytest.fixture
def files(reference: Path) -> dict[str, list[FileRef]]:
    (path,) = reference.glob("runs/*/manifest.json")
    stages: dict[str, Any] = json.loads(path.read_text())["files"]
    return {stage: [FileRef.model_validate(file) for file in found] for stage, found in stages.items()}


def test_scikit_learn_predicts_the_same_with_our_coefficients(reference: Path, files: dict[str, list[FileRef]]) -> None:
    X = load_matrix(str(reference), files["build_features_outer"][0])
    table = Storage(str(reference)).read_table(files["train_batch_outer"][1])
    coef = np.array(table["coefficients"].to_pylist())
    scores = score_tracks(X, coef, table["intercept"].to_numpy())
    for row, expected in zip(table.to_pylist(), scores, strict=True):
        loaded = LogisticRegression()
        loaded.classes_ = np.array([False, True])
        loaded.coef_, loaded.intercept_ = np.array([row["coefficients"]]), np.array([row["intercept"]])
        assert np.abs(loaded.decision_function(X.astype(np.float64)) - expected).max() < 1e-9


def test_the_models_are_those_of_scikit_learn(reference: Path, files: dict[str, list[FileRef]]) -> None:
    X = load_matrix(str(reference), files["build_features_outer"][0])
    is_fit = load_counts(str(reference), files["prepare_batches"][-1], "outer") > 0
    batch = load_batch(str(reference), files["prepare_batches"][0])
    indptr, track = batch.train("outer")
    models = Storage(str(reference)).read_table(files["train_batch_outer"][0]).to_pylist()
    for j in (0, 5):
        y = np.isin(np.arange(len(X)), track[indptr[j] : indptr[j + 1]])
        exact = LogisticRegression(solver="newton-cholesky", tol=1e-10).fit(X[is_fit].astype(np.float64), y[is_fit])
        assert models[j]["playlist_id"] == batch.playlist_ids[j]
        np.testing.assert_allclose(models[j]["coefficients"], exact.coef_[0], atol=1e-4)
        np.testing.assert_allclose(models[j]["intercept"], exact.intercept_[0], atol=1e-4)


def test_the_file_says_how_to_use_its_coefficients(reference: Path, files: dict[str, list[FileRef]]) -> None:
    schema = Storage(str(reference)).read_table(files["train_batch_outer"][0]).schema
    about = json.loads(schema.metadata[b"model"])
    assert sorted(about["features"]) == sorted(about["constants"]["features"])
    assert about["constants"]["features"]["tempo"].keys() == {"median", "min", "max"}
    assert about["regularization"] == 1.0


def test_every_playlist_has_a_row(reference: Path, files: dict[str, list[FileRef]]) -> None:
    (joined,) = [file for file in files["summarize"] if "all_models" in file.path]
    rows = Storage(str(reference)).read_table(joined).to_pylist()
    assert [row["playlist_id"] for row in rows] == sorted(row["playlist_id"] for row in rows)
    assert len(rows) == 24
    assert all(row["n_tracks"] - row["n_positives"] == round(0.2 * row["n_tracks"]) for row in rows)
