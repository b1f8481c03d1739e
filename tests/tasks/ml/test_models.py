"""One bad playlist is a row with a reason; the others have models."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.ml import models
from tasks.ml.logistic import Fits, SharedRows
from tasks.ml.models import fit_batch
from tasks.ml.playlist_rows import PlaylistColumns
from tasks.ml.rows import OwnRows

RNG = np.random.default_rng(1)
SHARED = SharedRows(RNG.normal(size=(40, 3)).astype(np.float32), np.ones(40))


def fit(*playlists: list[int], shared: SharedRows = SHARED) -> models.BatchModels:
    indptr = np.cumsum([0, *map(len, playlists)])
    tracks = np.array([row for rows in playlists for row in rows], np.int64)
    return fit_batch(shared, indptr, tracks, PlaylistColumns(), C=1.0)


def test_statuses_and_reasons() -> None:
    found = fit([1, 2, 3], [], [4], list(range(40)), [5, 6])
    assert found.status == ["trained", "too_few", "too_few", "one_class", "trained"]
    assert found.reason[1:4] == [
        "0 train tracks, 2 are needed",
        "1 train tracks, 2 are needed",
        "no negative is left: all 40 rows are in the playlist",
    ]
    assert list(found.n_positives) == [3, 0, 1, 40, 2]
    assert np.isfinite(found.coef[[0, 4]]).all() and np.isfinite(found.intercept[[0, 4]]).all()
    assert np.isnan(found.coef[1:4]).all() and np.isnan(found.intercept[1:4]).all()


def test_a_model_does_not_depend_on_the_others_of_its_batch() -> None:
    together, alone = fit([1, 2, 3], [], [5, 6]), fit([5, 6])
    np.testing.assert_allclose(together.coef[2], alone.coef[0], atol=1e-4)


def test_rows_without_weight_leave_one_class_too() -> None:
    weight = np.zeros(40)
    weight[:3] = 1
    assert fit([0, 1, 2], shared=SharedRows(SHARED.X, weight)).status == ["one_class"]


def test_two_playlists_with_the_same_tracks_have_the_same_model() -> None:
    found = fit([1, 2, 3], [1, 2, 3])
    np.testing.assert_array_equal(found.coef[0], found.coef[1])


def test_a_fit_that_went_wrong_keeps_no_coefficients(monkeypatch: pytest.MonkeyPatch) -> None:
    def bad_fit(shared: SharedRows, own: OwnRows, *, C: float) -> Fits:
        coef = np.array([[np.nan, 0, 0], [1, 1, 1], [2, 2, 2]])
        return Fits(
            coef, np.empty((3, 0)), np.ones(3), np.full(3, 7, np.int32), np.full(3, 0.5), np.array([True, False, True])
        )

    monkeypatch.setattr(models, "fit_playlists", bad_fit)
    found = fit([1, 2], [3, 4], [5, 6])
    assert found.status == ["non_finite", "not_converged", "trained"]
    assert found.reason[1] == "after 7 iterations 5.0e-01 of the first gradient is left"
    assert np.isnan(found.coef[:2]).all()
    assert found.coef[2].tolist() == [2, 2, 2]
