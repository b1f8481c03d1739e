"""Whitened coordinates: what they promise about rows, models and penalties."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.ml import whitening
from tasks.ml.whitening import whiten_rows


def correlated(n=500, d=5, seed=0):
    rng = np.random.default_rng(seed)
    return (rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * np.logspace(-2, 3, d) + 7).astype(np.float32)


def test_rows_of_positive_weight_have_weighted_mean_0_and_covariance_1():
    X, weight = correlated(), np.random.default_rng(1).integers(0, 4, 500) / 2.0
    rows = whiten_rows(X, weight)
    A, w = rows.A[:, :-1].astype(float), rows.weight / rows.weight.sum()
    np.testing.assert_allclose(w @ A, 0, atol=1e-5)
    np.testing.assert_allclose((A.T * w) @ A, np.eye(5), atol=1e-5)
    np.testing.assert_array_equal(rows.source, np.flatnonzero(weight))
    np.testing.assert_array_equal(rows.position[rows.source], np.arange(len(rows.source)))
    assert (rows.position[weight == 0] == -1).all() and (rows.A[:, -1] == 1).all()


@pytest.mark.parametrize("is_small", [True, False])
def test_exact_blocks_are_the_same_rows_in_float64(monkeypatch, is_small):
    monkeypatch.setattr(whitening, "BLOCK_BYTES", 100 * 8 * 6)
    monkeypatch.setattr(whitening, "MAX_KEPT_ENTRIES", 10**6 if is_small else 0)
    rows = whiten_rows(correlated(), np.arange(500) % 2.0)
    for _ in range(2):
        blocks = list(rows.exact_blocks())
        assert [block for block, _ in blocks] == [slice(0, 100), slice(100, 200), slice(200, 250)]
        exact = np.vstack([values for _, values in blocks])
        assert exact.dtype == np.float64
        np.testing.assert_allclose(exact[:, :-1], rows.whitening.whiten(correlated()[1::2]), atol=1e-12)
        np.testing.assert_allclose(exact, rows.A, atol=1e-5)


@given(seed=st.integers(0, 1000), n=st.integers(1, 30), d=st.integers(1, 8))
def test_scores_and_penalty_are_those_of_the_original_coordinates(seed, n, d):
    rng = np.random.default_rng(seed)
    rows = whiten_rows(rng.normal(size=(n, d)).astype(np.float32), np.ones(n))
    U, b, X = rng.normal(size=(2, d)), rng.normal(size=2), rng.normal(size=(4, d)).astype(np.float32)
    coef, intercept = rows.whitening.to_original(U, b)
    expected = rows.whitening.whiten(X) @ U.T + b
    np.testing.assert_allclose(X @ coef.T + intercept, expected, rtol=1e-6, atol=1e-6 * np.abs(expected).max())
    np.testing.assert_allclose((U**2) @ rows.whitening.penalty, (coef**2).sum(axis=1), rtol=1e-6)


def test_directions_without_variation_keep_a_finite_scale():
    X = correlated()
    X = np.column_stack([X, X[:, 0], np.ones(500, dtype=np.float32)])
    rows = whiten_rows(X, np.ones(500))
    assert np.isfinite(rows.A).all() and np.isfinite(rows.whitening.penalty).all()
    np.testing.assert_allclose(np.sort(rows.whitening.variance)[:2], 0, atol=1e-2)
    np.testing.assert_allclose(np.sort(rows.whitening.variance)[2:], 1, atol=1e-6)


@pytest.mark.parametrize(("X", "weight"), [(correlated(), np.zeros(500)), (np.full((500, 5), 3.0), np.ones(500))])
def test_without_variation_columns_keep_their_scale(X, weight):
    rows = whiten_rows(X, weight)
    np.testing.assert_allclose(rows.whitening.basis.T @ rows.whitening.basis, np.eye(5), atol=1e-12)
    np.testing.assert_array_equal(rows.whitening.variance, 0)
    assert rows.A.shape == (int(weight.sum()), 6)


def test_blocks_do_not_change_the_result(monkeypatch):
    whole = whiten_rows(correlated(), np.ones(500))
    monkeypatch.setattr(whitening, "BLOCK_BYTES", 7 * 8 * 5)
    small = whiten_rows(correlated(), np.ones(500))
    np.testing.assert_allclose(np.abs(small.A), np.abs(whole.A), atol=1e-4)


def test_thinned_rows_stand_for_all_and_are_always_the_same():
    n = whitening.THINNING * whitening.MIN_THINNED_ROWS
    X, weight = correlated(n), np.random.default_rng(2).uniform(0.5, 2, n)
    rows = whiten_rows(X, weight)
    thinned = rows.thinned
    assert len(thinned.A) == whitening.MIN_THINNED_ROWS
    np.testing.assert_allclose(thinned.weight.sum(), weight.sum())
    np.testing.assert_array_equal(thinned.A, rows.A[thinned.source])
    np.testing.assert_array_equal(thinned.position[thinned.source], np.arange(len(thinned.A)))
    np.testing.assert_array_equal(thinned.source, whiten_rows(X, weight).thinned.source)
    assert whiten_rows(X[:-1], weight[:-1]).thinned is None
