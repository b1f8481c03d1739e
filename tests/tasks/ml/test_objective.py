"""Gradients, preconditioner and Newton's method against the explicit sum over a playlist's rows."""

import numpy as np
import pytest

from tasks.ml.lbfgs import minimise
from tasks.ml.newton import PlaylistProblem, minimise_exactly
from tasks.ml.objective import PlaylistObjective, SharedTerm
from tasks.ml.own_rows import ChunkRows, pad_rows
from tasks.ml.preconditioner import precondition, starting_point
from tasks.ml.whitening import whiten_rows

N, D, E, P = 3000, 4, 2, 6
K = E + D + 1


@pytest.fixture
def problem():
    """Whitened rows and a chunk whose playlists have 1 to 90 own rows, with extra columns and own values."""
    rng = np.random.default_rng(0)
    rows = whiten_rows(rng.normal(size=(N, D)).astype(np.float32), (rng.random(N) < 0.8) * rng.uniform(0.5, 2, N))
    n_own = np.array([1, 7, 90, 8, 40, 2])
    slot = np.repeat(np.arange(P), n_own)
    row = np.concatenate([rng.choice(N, n, replace=False) for n in n_own])
    is_positive = rng.random(len(row)) < 0.6
    is_positive[np.cumsum(n_own) - n_own] = True
    features = np.column_stack([rng.poisson(1, (len(row), E)), rng.normal(size=(len(row), D)), np.ones(len(row))])
    negative = np.full(P, rows.weight.sum())
    return rows, ChunkRows(negative, slot, row, is_positive, features, E, np.ones(len(row), dtype=bool))


def options():
    return np.array([0.5, 0.7, 1, 2, 3, 4, 0]), np.array([2.0, 1, 0, 0, 0, 0, 0])


def build(rows, chunk):
    ridge, prior = options()
    pull = chunk.sum_by_playlist(chunk.features, chunk.is_positive)
    metric = precondition(chunk, rows, ridge)
    return PlaylistObjective(SharedTerm(rows, chunk), pad_rows(chunk), metric, pull, ridge, prior)


def explicit_gradient(rows, chunk, j, x):
    mine = chunk.slot == j
    others = ~np.isin(rows.source, chunk.row[mine])
    A = np.vstack([chunk.features[mine], np.column_stack([np.zeros((others.sum(), E)), rows.A[others]])])
    weight = np.append(np.ones(mine.sum()), rows.weight[others])
    label = np.append(chunk.is_positive[mine], np.zeros(others.sum()))
    ridge, prior = options()
    return A.T @ (weight * (1 / (1 + np.exp(-A @ x)) - label)) + ridge * (x - prior)


def test_gradients_are_those_of_the_explicit_rows_before_and_after_playlists_leave(problem):
    rows, chunk = problem
    objective, x = build(rows, chunk), np.random.default_rng(1).normal(size=(P, K))
    expected = np.array([explicit_gradient(rows, chunk, j, x[j]) for j in range(P)])
    np.testing.assert_allclose(objective.gradient(x), expected, rtol=1e-5, atol=1e-3)
    for keep in ([0, 2, 3, 5], [1, 3], [0]):
        mask = np.isin(np.arange(len(x)), keep)
        objective.keep(mask)
        x, expected = x[mask], expected[mask]
        np.testing.assert_allclose(objective.gradient(x), expected, rtol=1e-5, atol=1e-3)


def test_padding_keeps_every_own_row_once_and_little_else(problem):
    _, chunk = problem
    groups = pad_rows(chunk)
    assert sorted(np.concatenate([group.slots for group in groups])) == list(range(P))
    filled = sum((group.rows[:, :, -1] == 1).sum() for group in groups)
    assert filled == len(chunk.slot) and sum(group.rows.shape[0] * group.rows.shape[1] for group in groups) < 190


def test_rows_equal_to_shared_ones_are_left_to_the_shared_sum(problem):
    rows, chunk = problem
    same = ChunkRows(**{**vars(chunk), "is_own": np.zeros(len(chunk.slot), dtype=bool)})
    assert pad_rows(same) == [] and len(SharedTerm(rows, same).excluded_row) == 0


def test_preconditioner_solves_its_matrix(problem):
    rows, chunk = problem
    metric, x = precondition(chunk, rows, options()[0]), np.random.default_rng(2).normal(size=(P, K))
    m = np.column_stack([metric.mean, np.ones(P)])
    D0 = np.column_stack([metric.D, np.zeros(P)])
    matrix = metric.n[:, None, None] * (m[:, :, None] * m[:, None, :] + D0[:, :, None] * np.eye(K))
    np.testing.assert_allclose(metric.solve(np.einsum("pij,pj->pi", matrix, x)), x, rtol=1e-8)
    quadratic = np.einsum("pi,pij,pj->p", x, matrix, x)
    np.testing.assert_allclose(metric.norm(x), np.sqrt(quadratic / metric.n), rtol=1e-8)


def test_start_is_near_the_optimum_where_linear_discriminant_analysis_is_right():
    rng = np.random.default_rng(3)
    rows = whiten_rows(rng.normal(size=(60_000, 2)).astype(np.float32), np.ones(60_000))
    shift = np.array([0.6, -0.8])
    features = np.column_stack([rng.normal(size=(3000, 2)) + shift, np.ones(3000)])
    own = np.ones(3000, dtype=bool)
    chunk = ChunkRows(np.array([60_000.0]), np.zeros(3000, dtype=int), np.arange(3000), own, features, 0, own)
    start = starting_point(chunk, rows, ridge=np.array([1.0, 1, 0]), prior=np.zeros(3))
    np.testing.assert_allclose(start[0, :2], shift, atol=0.06)
    np.testing.assert_allclose(start[0, 2], np.log(3000 / 60_000) - 0.5, atol=0.06)


def test_newton_finds_what_lbfgs_finds_with_more_digits(problem):
    rows, chunk = problem
    ridge, prior = options()
    x0 = starting_point(chunk, rows, ridge=ridge, prior=prior)
    rough = minimise(build(rows, chunk), x0, target=np.full(P, 1e-4), max_iter=200).x
    for j in range(P):
        pull = chunk.features[(chunk.slot == j) & chunk.is_positive].sum(axis=0)
        exact = PlaylistProblem(rows, chunk, j, pull, ridge, prior)
        x, gradient, n_evaluations = minimise_exactly(exact, 5 * x0[j])
        np.testing.assert_allclose(x, rough[j], atol=1e-3)
        assert np.abs(gradient).max() < 1e-8 and n_evaluations < 30


def test_newton_derivatives_are_differences_of_the_objective(problem):
    rows, chunk = problem
    ridge, prior = options()
    exact = PlaylistProblem(rows, chunk, 2, np.arange(K) + 0.0, ridge, prior)
    x, step = np.full(K, 0.3), 1e-5
    _, gradient, hessian = exact.evaluate(x)
    for j, unit in enumerate(np.eye(K) * step):
        ahead, behind = exact.evaluate(x + unit), exact.evaluate(x - unit)
        np.testing.assert_allclose((ahead[0] - behind[0]) / (2 * step), gradient[j], rtol=1e-5, atol=1e-4)
        np.testing.assert_allclose((ahead[1] - behind[1]) / (2 * step), hessian[j], rtol=1e-5, atol=1e-4)


def test_newton_returns_where_it_cannot_go_on(problem):
    rows, chunk = problem
    ridge, prior = np.zeros(K), np.zeros(K)
    flat = ChunkRows(**{**vars(chunk), "features": np.zeros_like(chunk.features)})
    x, _, n_evaluations = minimise_exactly(PlaylistProblem(rows, flat, 0, np.zeros(K), ridge, prior), np.ones(K))
    np.testing.assert_array_equal(x, 1)
    assert n_evaluations == 1
