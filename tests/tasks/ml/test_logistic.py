"""fit_playlists against scikit-learn and against Newton's method on an explicit matrix per playlist."""

import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import MinMaxScaler, QuantileTransformer, SplineTransformer, StandardScaler
from threadpoolctl import threadpool_limits

from tasks.ml import logistic
from tasks.ml.logistic import SharedRows, fit_playlists
from tasks.ml.rows import OwnRows


@pytest.fixture(autouse=True, scope="module")
def one_blas_thread():
    with threadpool_limits(1):
        yield


def make_own(rng, n, n_own, d, e, *, has_own_X):
    """Own rows of playlists with n_own[j] rows each; the first is positive, the others are with probability 1/2."""
    indptr = np.append(0, np.cumsum(n_own))
    rows = np.concatenate([rng.choice(n, size=m, replace=False) for m in n_own]).astype(np.int64)
    is_positive = rng.random(len(rows)) < 0.5
    is_positive[indptr[:-1]] = True
    X = rng.normal(size=(len(rows), d)).astype(np.float32) if has_own_X else None
    extra = rng.poisson(1.0, size=(len(rows), e)).astype(np.float32) if e else None
    return OwnRows(indptr, rows, is_positive, X, extra)


def explicit_problem(shared, own, j):
    """Playlist j as one matrix: shared rows that are not its own with their weight, own rows with weight 1."""
    entries = slice(own.indptr[j], own.indptr[j + 1])
    rows = own.rows[entries]
    others = np.setdiff1d(np.flatnonzero(shared.row_weight > 0), rows)
    own_X = shared.X[rows] if own.X is None else own.X[entries]
    e = 0 if own.extra is None else own.extra.shape[1]
    extra = np.zeros((len(rows), 0)) if own.extra is None else own.extra[entries]
    A = np.block([[shared.X[others].astype(float), np.zeros((len(others), e))], [own_X.astype(float), extra]])
    y = np.append(np.zeros(len(others)), own.is_positive[entries])
    return A, y, np.append(shared.row_weight[others], np.ones(len(rows)))


def newton(A, y, weight, *, ridge, prior):
    """Coefficients and intercept in float64: Newton's method with step halving, to the limit of rounding."""
    A1, ridge, prior = np.column_stack([A, np.ones(len(A))]), np.append(ridge, 0), np.append(prior, 0)
    x = np.append(prior[:-1], np.log(weight @ y / (weight @ (1 - y))))

    def objective(x):
        z = A1 @ x
        return weight @ (np.logaddexp(0, z) - y * z) + ridge @ (x - prior) ** 2 / 2

    for _ in range(100):
        p = 1 / (1 + np.exp(-A1 @ x))
        g = A1.T @ (weight * (p - y)) + ridge * (x - prior)
        hessian = (A1.T * (weight * p * (1 - p))) @ A1 + np.diag(ridge)
        step = np.linalg.solve(hessian, g)
        t = 1.0
        while objective(x - t * step) > objective(x) + 1e-12 * abs(objective(x)) and t > 1e-3:
            t /= 2
        x = x - t * step
        if np.abs(step).max() < 1e-12:
            break
    return x


def reference(shared, own, *, C=1.0, extra_prior=(), extra_strength=1.0):
    """(p, d + e + 1): coefficients of shared columns, of per-playlist columns, intercept."""
    d, e = shared.X.shape[1], 0 if own.extra is None else own.extra.shape[1]
    ridge = np.append(np.full(d, 1 / C), np.full(e, extra_strength))
    prior = np.append(np.zeros(d), extra_prior or np.zeros(e))
    problems = (explicit_problem(shared, own, j) for j in range(len(own.indptr) - 1))
    return np.array([newton(*problem, ridge=ridge, prior=prior) for problem in problems])


def flat(fits):
    return np.column_stack([fits.coef, fits.extra_coef, fits.intercept])


@given(
    seed=st.integers(0, 2**31),
    d=st.integers(1, 6),
    e=st.integers(0, 2),
    n_own=st.lists(st.integers(1, 12), min_size=1, max_size=4),
    has_own_X=st.booleans(),
    weights=st.sampled_from(["all 1", "sampled", "various"]),
    C=st.sampled_from([0.1, 1.0, 10.0]),
)
@settings(max_examples=60, deadline=None)
def test_any_problem_has_the_optimum_of_its_explicit_matrix(seed, d, e, n_own, has_own_X, weights, C):
    rng = np.random.default_rng(seed)
    n = 40
    sampled = rng.random(n) < 0.6
    row_weight = {"all 1": np.ones(n), "sampled": sampled / 0.6, "various": sampled * rng.uniform(0.2, 3, n)}[weights]
    shared = SharedRows(rng.normal(size=(n, d)).astype(np.float32) + 1, row_weight)
    own = make_own(rng, n, n_own, d, e, has_own_X=has_own_X)
    options = {"C": C, "extra_prior": (2.0, 1.0)[:e], "extra_strength": 0.7}
    expected = reference(shared, own, **options)
    fits = fit_playlists(shared, own, **options)
    assert fits.is_converged.all() and (fits.gradient_norm <= 1e-5).all()
    np.testing.assert_allclose(flat(fits), expected, atol=1e-4)
    polished = fit_playlists(shared, own, **options, polish=True)
    np.testing.assert_allclose(flat(polished), expected, atol=1e-6)


def tracks(n=9000, seed=5):
    """12 columns as skewed, bounded and correlated as audio features are."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 12)) @ (np.eye(12) + 0.4 * rng.normal(size=(12, 12)))
    z[:, :3] = np.exp(0.8 * z[:, :3])
    z[:, 3:6] = 1 / (1 + np.exp(-2 * z[:, 3:6] - 2))
    z[:, 6] = z[:, 6] > 0.3
    return z


def features(kind):
    z = tracks()
    if kind == "minmax":
        return MinMaxScaler().fit_transform(z).astype(np.float32)
    if kind == "standard":
        return StandardScaler().fit_transform(z).astype(np.float32)
    quantiles = QuantileTransformer(n_quantiles=500, random_state=0).fit_transform(z[:, :10])
    return SplineTransformer(n_knots=5, degree=2, include_bias=False).fit_transform(quantiles).astype(np.float32)


def playlists(X, n_playlists=12, seed=6):
    """Positives that share a taste: drawn with a log-linear preference."""
    rng = np.random.default_rng(seed)
    z = (X - X.mean(0)) / (X.std(0) + 1e-9)
    draws = []
    for size in rng.integers(3, 80, n_playlists):
        preference = np.exp(z @ rng.normal(scale=0.3, size=X.shape[1]))
        draws.append(np.sort(rng.choice(len(X), size, replace=False, p=preference / preference.sum())))
    indptr = np.append(0, np.cumsum([len(draw) for draw in draws]))
    rows = np.concatenate(draws)
    return OwnRows(indptr, rows, np.ones(len(rows), dtype=bool))


def scikit_learn(shared, own, C=1.0):
    """newton-cholesky at a tolerance far below its default."""
    result = []
    for j in range(len(own.indptr) - 1):
        A, y, weight = explicit_problem(shared, own, j)
        model = LogisticRegression(C=C, solver="newton-cholesky", tol=1e-10, max_iter=500).fit(A, y, weight)
        result.append(np.append(model.coef_[0], model.intercept_))
    return np.array(result)


@pytest.mark.parametrize("kind", ["minmax", "standard", "spline"])
@pytest.mark.parametrize("sampled", [False, True])
def test_models_are_those_of_scikit_learn(kind, sampled):
    X = features(kind)
    row_weight = np.ones(len(X))
    if sampled:
        row_weight = (np.random.default_rng(1).permutation(len(X)) < 1500) * (len(X) / 1500)
    shared, own = SharedRows(X, row_weight), playlists(X)
    expected = scikit_learn(shared, own)
    assert np.abs(flat(fit_playlists(shared, own)) - expected).max() < 1e-4
    if kind != "spline":
        assert np.abs(flat(fit_playlists(shared, own, polish=True)) - expected).max() < 1e-6


def test_separable_data_stop_at_the_optimum_of_the_penalty():
    X = np.linspace(-1, 1, 200, dtype=np.float32)[:, None]
    shared = SharedRows(X, np.ones(200))
    own = OwnRows(np.array([0, 20]), np.arange(180, 200), np.ones(20, dtype=bool))
    for C in (1.0, 1e4):
        fits = fit_playlists(shared, own, C=C)
        assert fits.is_converged[0]
        np.testing.assert_allclose(flat(fits), reference(shared, own, C=C), rtol=1e-4)


def test_duplicated_columns_share_a_coefficient_and_constant_ones_have_none():
    rng = np.random.default_rng(2)
    x = rng.normal(size=(300, 2)).astype(np.float32)
    X = np.column_stack([x, x[:, 0], np.full(300, 3, dtype=np.float32)])
    shared, own = SharedRows(X, np.ones(300)), make_own(rng, 300, [20, 5], 4, 0, has_own_X=False)
    fits = fit_playlists(shared, own)
    np.testing.assert_allclose(flat(fits), reference(shared, own), atol=1e-4)
    np.testing.assert_allclose(fits.coef[:, 0], fits.coef[:, 2], atol=1e-6)
    np.testing.assert_allclose(fits.coef[:, 3], 0, atol=1e-6)


def test_own_values_count_in_columns_that_are_constant_among_the_shared_rows():
    rng = np.random.default_rng(3)
    X = np.column_stack([rng.normal(size=100), np.ones(100)]).astype(np.float32)
    shared, own = SharedRows(X, np.ones(100)), make_own(rng, 100, [15, 10], 2, 0, has_own_X=True)
    fits = fit_playlists(shared, own)
    assert np.abs(fits.coef[:, 1]).min() > 0.01
    np.testing.assert_allclose(flat(fits), reference(shared, own), atol=1e-4)


def test_a_single_positive_is_enough():
    rng = np.random.default_rng(4)
    shared = SharedRows(rng.normal(size=(500, 3)).astype(np.float32), np.ones(500))
    own = OwnRows(np.array([0, 1]), np.array([17]), np.array([True]))
    np.testing.assert_allclose(flat(fit_playlists(shared, own)), reference(shared, own), atol=1e-4)


def test_fewer_rows_than_columns():
    rng = np.random.default_rng(5)
    shared = SharedRows(rng.normal(size=(20, 60)).astype(np.float32), np.ones(20))
    own = make_own(rng, 20, [6, 3], 60, 0, has_own_X=False)
    np.testing.assert_allclose(flat(fit_playlists(shared, own)), reference(shared, own), atol=1e-4)


@pytest.mark.parametrize("has_own_X", [False, True])
def test_wildly_scaled_columns_give_the_same_scores(has_own_X):
    rng = np.random.default_rng(6)
    scale = np.array([1e-3, 1, 1e2, 2e5], dtype=np.float32)
    shared = SharedRows(rng.normal(size=(400, 4)).astype(np.float32) * scale + scale, np.ones(400))
    own = make_own(rng, 400, [30, 4], 4, 0, has_own_X=has_own_X)
    own = own if own.X is None else replace(own, X=own.X * scale)
    fits, expected = fit_playlists(shared, own), reference(shared, own)
    np.testing.assert_allclose(fits.coef * scale, expected[:, :-1] * scale, atol=1e-4)
    np.testing.assert_allclose(fits.intercept, expected[:, -1], atol=2e-4)


def test_own_rows_alone_decide_where_no_shared_row_has_weight():
    rng = np.random.default_rng(7)
    shared = SharedRows(rng.normal(size=(50, 3)).astype(np.float32) + 5, np.zeros(50))
    own = make_own(rng, 50, [30, 20], 3, 1, has_own_X=True)
    own.is_positive[own.indptr[1:] - 1] = False
    np.testing.assert_allclose(flat(fit_playlists(shared, own)), reference(shared, own), atol=1e-4)


def test_zero_playlists_give_empty_arrays():
    shared = SharedRows(np.ones((5, 2), dtype=np.float32), np.ones(5))
    none = np.zeros(0, dtype=np.int64)
    fits = fit_playlists(shared, OwnRows(np.zeros(1, dtype=np.int64), none, none > 0, extra=np.zeros((0, 2))))
    assert fits.coef.shape == (0, 2) and fits.extra_coef.shape == (0, 2) and fits.intercept.shape == (0,)


def test_no_columns_leave_the_log_odds_as_intercept():
    own = OwnRows(np.array([0, 2]), np.array([3, 5]), np.ones(2, dtype=bool))
    fits = fit_playlists(SharedRows(np.zeros((10, 0), dtype=np.float32), np.ones(10)), own)
    np.testing.assert_allclose(fits.intercept, [np.log(2 / 8)], atol=1e-5)


def test_a_playlist_of_one_class_gets_nan_and_does_not_disturb_the_others():
    rng = np.random.default_rng(8)
    shared = SharedRows(rng.normal(size=(6, 2)).astype(np.float32), np.ones(6))
    rows = np.concatenate([[1, 2], np.arange(6), [3], [0, 5]])
    is_positive = np.concatenate([[True, False], np.ones(6, dtype=bool), [False], [True, True]])
    fits = fit_playlists(shared, OwnRows(np.array([0, 2, 8, 9, 9, 11]), rows, is_positive))
    alone = OwnRows(np.array([0, 2, 4]), np.array([1, 2, 0, 5]), np.array([True, False, True, True]))
    np.testing.assert_array_equal(fits.is_converged, [True, False, False, False, True])
    np.testing.assert_array_equal(flat(fits)[[0, 4]], flat(fit_playlists(shared, alone)))
    assert np.isnan(flat(fits)[1:4]).all() and np.isinf(fits.gradient_norm[1:4]).all()


@pytest.mark.filterwarnings("ignore:overflow encountered", "ignore:invalid value encountered")
def test_a_playlist_whose_numbers_overflow_gets_nan_and_does_not_disturb_the_others():
    rng = np.random.default_rng(12)
    shared = SharedRows(rng.normal(size=(200, 2)).astype(np.float32), np.ones(200))
    own = make_own(rng, 200, [20, 20], 2, 1, has_own_X=True)
    huge = own.extra.astype(float)
    huge[:20] = 1e39
    fits = fit_playlists(shared, replace(own, extra=huge))
    np.testing.assert_array_equal(fits.is_converged, [False, True])
    assert np.isnan(flat(fits)[0]).all() and np.isinf(fits.gradient_norm[0])
    np.testing.assert_allclose(flat(fits)[1], reference(shared, own)[1], atol=1e-4)


def test_too_few_iterations_are_reported_with_the_last_iterate():
    X = features("standard")
    fits = fit_playlists(SharedRows(X, np.ones(len(X))), playlists(X), max_iter=3)
    assert not fits.is_converged.any() and (fits.n_iter <= 3).all()
    assert np.isfinite(flat(fits)).all() and (fits.gradient_norm > 1e-5).all()


def test_a_batch_in_several_chunks_has_the_same_models(monkeypatch):
    X = features("minmax")
    shared, own = SharedRows(X, np.ones(len(X))), playlists(X, 30)
    whole = fit_playlists(shared, own)
    for name, value in (("CHUNK_PLAYLISTS", 7), ("CHUNK_OWN_ENTRIES", 13 * 100)):
        with monkeypatch.context() as patch:
            patch.setattr(logistic, name, value)
            np.testing.assert_allclose(flat(fit_playlists(shared, own)), flat(whole), atol=1e-4)


@given(st.lists(st.integers(0, 10**6), max_size=2000), st.integers(1, 200))
@settings(deadline=None)
def test_chunks_cover_all_playlists_and_only_their_first_may_exceed_the_limits(n_own, n_columns):
    chunks = logistic._chunks(np.array(n_own, dtype=np.int64), n_columns)
    assert [j for first, last in chunks for j in range(first, last)] == list(range(len(n_own)))
    for first, last in chunks:
        assert 0 < last - first <= logistic.CHUNK_PLAYLISTS + 1
        assert sum(n_own[first + 1 : last]) * n_columns <= logistic.CHUNK_OWN_ENTRIES


def test_bytes_do_not_depend_on_the_number_of_threads():
    rng = np.random.default_rng(9)
    X = features("minmax")
    batches = [make_own(rng, len(X), rng.integers(1, 60, 20), 12, 2, has_own_X=True) for _ in range(6)]
    weight = (rng.permutation(len(X)) < 1000) * 9.0
    results = []
    for n_threads in (1, 4):
        shared = SharedRows(X, weight)
        with ThreadPoolExecutor(n_threads) as pool:
            fits = list(pool.map(lambda own, shared=shared: fit_playlists(shared, own), batches))
        results.append(b"".join(flat(fit).tobytes() + fit.gradient_norm.tobytes() for fit in fits))
    assert results[0] == results[1]


def test_shared_rows_are_whitened_once_for_all_threads(monkeypatch):
    calls = []
    whiten_rows = logistic.whiten_rows
    monkeypatch.setattr(logistic, "whiten_rows", lambda *rows: calls.append(1) or whiten_rows(*rows))
    X = features("minmax")
    shared, own = SharedRows(X, np.ones(len(X))), playlists(X, 2)
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda _: fit_playlists(shared, own), range(8)))
    assert len(calls) == 1


def test_memory_does_not_grow_with_the_number_of_playlists():
    rng = np.random.default_rng(10)
    shared = SharedRows(rng.normal(size=(2000, 4)).astype(np.float32), np.ones(2000))
    peaks = []
    for n_playlists in (2000, 8000):
        own = make_own(rng, 2000, np.full(n_playlists, 20), 4, 1, has_own_X=True)
        tracemalloc.start()
        fits = fit_playlists(shared, own, tol=1e-3)
        size, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        peaks.append(peak - size)
        assert fits.is_converged.all()
    assert peaks[1] < 1.1 * peaks[0]


def valid():
    rng = np.random.default_rng(11)
    shared = SharedRows(rng.normal(size=(30, 2)).astype(np.float32), np.ones(30))
    return shared, make_own(rng, 30, [5, 5], 2, 1, has_own_X=True)


@pytest.mark.parametrize(
    ("shared_changes", "own_changes", "options", "message"),
    [
        ({"row_weight": np.ones(29)}, {}, {}, "row_weight"),
        ({"row_weight": np.full(30, -1.0)}, {}, {}, "row_weight"),
        ({"row_weight": np.full(30, np.nan)}, {}, {}, "row_weight"),
        ({"X": np.full((30, 2), np.inf, dtype=np.float32)}, {}, {}, "shared X"),
        ({}, {"indptr": np.array([0, 5, 9])}, {}, "indptr"),
        ({}, {"indptr": np.array([0, 11, 10])}, {}, "indptr"),
        ({}, {"is_positive": np.ones(9, dtype=bool)}, {}, "agree"),
        ({}, {"X": np.zeros((10, 3), dtype=np.float32)}, {}, "agree"),
        ({}, {"X": np.full((10, 2), np.nan, dtype=np.float32)}, {}, "finite"),
        ({}, {"extra": np.zeros((9, 1), dtype=np.float32)}, {}, "extra"),
        ({}, {"extra": np.full((10, 1), np.inf, dtype=np.float32)}, {}, "finite"),
        ({}, {"rows": np.arange(10) + 21}, {}, "rows of the shared X"),
        ({}, {"rows": np.zeros(10, dtype=np.int64)}, {}, "unique"),
        ({}, {}, {"extra_prior": (1.0, 2.0)}, "extra_prior"),
        ({}, {}, {"extra_prior": (np.nan,)}, "finite"),
        ({}, {}, {"C": 0.0}, "positive"),
        ({}, {}, {"extra_strength": 0.0}, "positive"),
        ({}, {}, {"tol": np.inf}, "positive"),
    ],
)
def test_bad_input_is_refused(shared_changes, own_changes, options, message):
    shared, own = valid()
    with pytest.raises(ValueError, match=message):
        fit_playlists(replace(shared, **shared_changes), replace(own, **own_changes), **options)
