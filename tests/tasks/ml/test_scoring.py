"""Scores are scikit-learn's, whatever the tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from tasks.ml import scoring
from tasks.ml.scoring import ROWS, score_in_tiles, score_tracks


def models(n: int, d: int = 7, p: int = 5) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    return rng.normal(size=(n, d)).astype(np.float32), rng.normal(size=(p, d)), rng.normal(size=p)


def decision_function(X: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> np.ndarray:
    """(p, n), one scikit-learn model after the other."""
    scores = np.empty((len(coef), len(X)))
    for j in range(len(coef)):
        model = LogisticRegression()
        model.classes_, model.coef_, model.intercept_ = np.array([0, 1]), coef[j : j + 1], intercept[j : j + 1]
        scores[j] = model.decision_function(X.astype(float))
    return scores


@pytest.mark.parametrize("n", [1, ROWS - 1, ROWS, 2 * ROWS + 3])
@pytest.mark.parametrize("p", [1, 5])
def test_equals_scikit_learn(n: int, p: int) -> None:
    X, coef, intercept = models(n, p=p)
    scores = score_tracks(X, coef, intercept)
    assert scores.dtype == np.float64
    np.testing.assert_allclose(scores, decision_function(X, coef, intercept), rtol=0, atol=1e-12)


def test_float32_is_close_enough_to_rank() -> None:
    X, coef, intercept = models(2 * ROWS + 3, d=116)
    scores = score_tracks(X, coef, intercept, dtype=np.float32)
    assert scores.dtype == np.float32
    magnitude = np.abs(X) @ np.abs(coef.T) + np.abs(intercept)
    assert (np.abs(scores - decision_function(X, coef, intercept)) / magnitude.T).max() < 1e-6


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("models_in_a_tile", [0.5, 1, 2, 5, 9])
def test_tiles_hold_few_models_and_say_the_same(
    monkeypatch: pytest.MonkeyPatch, dtype: Any, models_in_a_tile: float
) -> None:
    X, coef, intercept = models(50)
    sizes: list[int] = []

    fill = scoring._fill

    def spy(scores: np.ndarray, X: np.ndarray, coef: np.ndarray, intercept: np.ndarray) -> None:
        sizes.append(len(coef))
        fill(scores, X, coef, intercept)

    monkeypatch.setattr(scoring, "TILE_BYTES", int(models_in_a_tile * 50 * np.dtype(dtype).itemsize))
    monkeypatch.setattr(scoring, "_fill", spy)
    scores = np.array([row.copy() for row in score_in_tiles(X, coef, intercept, dtype=dtype)])
    assert max(sizes) == min(5, max(1, int(models_in_a_tile)))
    assert scores.dtype == dtype
    np.testing.assert_allclose(scores, decision_function(X, coef, intercept), atol=1e-4)


def test_nothing_to_score() -> None:
    X, coef, intercept = models(0)
    assert score_tracks(X, coef, intercept).shape == (5, 0)
    assert len(list(score_in_tiles(X, coef, intercept))) == 5
    X, coef, intercept = models(3, p=0)
    assert score_tracks(X, coef, intercept).shape == (0, 3)
    assert list(score_in_tiles(X, coef, intercept)) == []
