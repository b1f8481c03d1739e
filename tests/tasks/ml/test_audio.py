"""Audio columns: as scikit-learn would make them, with constants from the fit rows alone."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.testing import assert_allclose
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, SplineTransformer, StandardScaler

from tasks.ml.audio import N_QUANTILES, audio_columns

NAMES = ["energy", "key", "tempo"]
RNG = np.random.default_rng(0)
FEATURES = np.column_stack([RNG.random(600), RNG.integers(0, 12, 600), RNG.lognormal(5, 1, 600)])
IS_FIT = RNG.random(600) < 0.7


@pytest.mark.parametrize(("kind", "scaler"), [("minmax", MinMaxScaler()), ("standard", StandardScaler())])
def test_scaled_as_by_scikit_learn(kind: str, scaler: MinMaxScaler | StandardScaler) -> None:
    made = audio_columns(FEATURES, IS_FIT, names=NAMES, kind=kind)
    assert made.columns == NAMES
    assert_allclose(made.X, scaler.fit(FEATURES[IS_FIT]).transform(FEATURES), atol=1e-6)


def test_splines_as_by_scikit_learn() -> None:
    made = audio_columns(FEATURES, IS_FIT, names=NAMES, kind="spline")
    assert made.columns == [f"{name}_{i}" for name in ("energy", "tempo") for i in range(5)]
    assert list(made.dropped) == ["key"]
    continuous = FEATURES[:, [0, 2]]
    quantiles = QuantileTransformer(n_quantiles=N_QUANTILES, subsample=None).fit(continuous[IS_FIT])
    splines = SplineTransformer(n_knots=5, degree=2, include_bias=False, extrapolation="constant")
    splines.fit(np.array([[0.0, 0.0], [1.0, 1.0]]))
    expected = splines.transform(quantiles.transform(continuous))
    assert_allclose(made.X, expected - expected[IS_FIT].mean(axis=0), atol=1e-6)
    assert_allclose(made.X[IS_FIT].mean(axis=0), 0, atol=1e-6)


@pytest.mark.parametrize("kind", ["minmax", "standard", "spline"])
def test_other_tracks_change_no_constant(kind: str) -> None:
    scrambled = np.where(IS_FIT[:, None], FEATURES, RNG.permutation(FEATURES) * 100)
    before = audio_columns(FEATURES, IS_FIT, names=NAMES, kind=kind)
    after = audio_columns(scrambled, IS_FIT, names=NAMES, kind=kind)
    assert after.constants == before.constants
    assert np.array_equal(after.X[IS_FIT], before.X[IS_FIT])


def test_a_missing_value_takes_the_median_of_the_fit_rows() -> None:
    features = np.array([[1.0], [3.0], [np.nan], [8.0], [1000.0]])
    is_fit = np.array([True, True, True, True, False])
    made = audio_columns(features, is_fit, names=["energy"], kind="minmax")
    assert made.constants["features"]["energy"] == {"median": 3.0, "min": 1.0, "max": 8.0}
    assert_allclose(made.X[2], made.X[1])


@pytest.mark.parametrize("kind", ["minmax", "standard", "spline"])
def test_what_does_not_vary_over_the_fit_rows_is_dropped(kind: str) -> None:
    features = np.column_stack([np.full(600, np.nan), np.where(IS_FIT, 4.0, FEATURES[:, 1]), FEATURES[:, 2]])
    made = audio_columns(features, IS_FIT, names=["energy", "liveness", "tempo"], kind=kind)
    assert made.dropped == {
        "energy": "no value in any train track",
        "liveness": "the same value (4) in every train track",
    }
    assert {column.split("_")[0] for column in made.columns} == {"tempo"}


def test_nothing_usable_gives_no_column() -> None:
    made = audio_columns(np.full((5, 1), np.nan), np.ones(5, bool), names=["energy"], kind="spline")
    assert made.X.shape == (5, 0)
    assert made.columns == []


def test_heavy_ties_are_finite() -> None:
    values = np.zeros((600, 1))
    values[:5] = 1.0
    made = audio_columns(values, IS_FIT, names=["energy"], kind="spline")
    assert np.isfinite(made.X).all()


@pytest.mark.parametrize("kind", ["minmax", "standard", "spline"])
def test_extreme_values_stay_finite(kind: str) -> None:
    values = RNG.choice([0.0, 1e-200], 600)
    outlier = np.where(IS_FIT, FEATURES[:, 0] * 1e-25, 1e12)
    made = audio_columns(np.column_stack([values, outlier]), IS_FIT, names=["energy", "tempo"], kind=kind)
    assert list(made.dropped) == ["energy"]
    assert np.isfinite(made.X).all()
