"""The batched minimiser on problems whose minimum is known."""

import numpy as np
import pytest

from tasks.ml.lbfgs import ROUGH_MAX_PASSES, minimise


class Quadratics:
    """1/2 (x - c)' H (x - c) with the diagonal of H as preconditioner; counts the gradients of each problem."""

    def __init__(self, H, c):
        self.H, self.c, self.ids = H, c, np.arange(len(c))
        self.counts = np.zeros(len(c), dtype=int)

    def gradient(self, x):
        self.counts[self.ids] += 1
        return np.einsum("pij,pj->pi", self.H, x - self.c)

    def precondition(self, g):
        return g / np.einsum("pii->pi", self.H)

    def length(self, direction):
        return np.linalg.norm(direction, axis=1)

    def keep(self, mask):
        self.H, self.c, self.ids = self.H[mask], self.c[mask], self.ids[mask]


class Cosh(Quadratics):
    """sum cosh(x - c) - 1: curvature grows with the exponential of the distance. The preconditioner is too small."""

    def gradient(self, x):
        self.counts[self.ids] += 1
        return np.sinh(x - self.c)

    def precondition(self, g):
        return 50 * g


def quadratics(p=5, k=8, seed=0, spread=2.0):
    rng = np.random.default_rng(seed)
    Q = np.linalg.qr(rng.normal(size=(p, k, k)))[0]
    H = (Q * np.exp(rng.normal(scale=spread, size=(p, 1, k)))) @ Q.transpose(0, 2, 1)
    return Quadratics(H, rng.normal(size=(p, k)))


def test_each_problem_reaches_its_own_minimum_and_then_leaves():
    problems = quadratics()
    centres = problems.c
    x0 = centres + np.array([1e-9, 0.1, 1, 10, 100])[:, None]
    found = minimise(problems, x0, target=np.full(5, 1e-6), max_iter=500)
    np.testing.assert_allclose(found.x, centres, atol=1e-4)
    assert (found.norm <= 1e-6).all()
    np.testing.assert_array_equal(found.n_iter, problems.counts)
    assert found.n_iter[0] == 1 and found.n_iter[1] < found.n_iter[4]


def test_results_of_a_problem_do_not_depend_on_its_neighbours():
    problems, x0 = quadratics(), np.zeros((5, 8))
    together = minimise(problems, x0, target=np.full(5, 1e-6), max_iter=500)
    for j in range(5):
        alone = quadratics()
        alone.keep(np.arange(5) == j)
        found = minimise(alone, x0[:1], target=np.full(1, 1e-6), max_iter=500)
        np.testing.assert_allclose(found.x[0], together.x[j], atol=1e-5)


def test_steps_that_are_too_long_are_shortened():
    problems = Cosh(np.ones((2, 3, 3)), np.array([[0.0, 0, 0], [30, 0, -30]]))
    found = minimise(problems, np.zeros((2, 3)) + 1, target=np.full(2, 1e-9), max_iter=500)
    np.testing.assert_allclose(found.x, [[0, 0, 0], [30, 0, -30]], atol=1e-6)


def test_max_iter_stops_with_the_best_iterate():
    problems, x0 = quadratics(spread=4.0), np.full((5, 8), 30.0)
    start = np.sqrt(np.vecdot(problems.gradient(x0), problems.precondition(problems.gradient(x0))))
    found = minimise(problems, x0, target=np.zeros(5), max_iter=7)
    assert (found.n_iter == 7).all() and np.isfinite(found.x).all()
    assert (found.norm < start).all() and (found.norm > 0).all()


def test_rounding_stops_a_problem_that_cannot_reach_its_target():
    found = minimise(quadratics(), np.ones((5, 8)), target=np.zeros(5), max_iter=10_000)
    assert (found.n_iter < 1000).all() and (found.norm < 1e-9).all()


def test_rough_problems_save_passes_over_the_true_ones():
    direct, helped, rough = quadratics(spread=1), quadratics(spread=1), quadratics(spread=1)
    rough.c = rough.c + 0.01
    x0, target = np.full((5, 8), 50.0), np.full(5, 1e-5)
    minimise(direct, x0, target=target, max_iter=500)
    found = minimise(helped, x0, target=target, max_iter=500, rough=rough)
    np.testing.assert_allclose(found.x, quadratics(spread=1).c, atol=1e-4)
    assert helped.counts.sum() < direct.counts.sum()
    assert 0 < rough.counts.max() <= ROUGH_MAX_PASSES
    np.testing.assert_array_equal(found.n_iter, helped.counts + rough.counts)


@pytest.mark.filterwarnings("ignore:invalid value")
def test_nothing_that_is_not_finite_is_returned_as_converged():
    class Cliff(Quadratics):
        """Not finite beyond 1 for the first problem, everywhere for the second."""

        def gradient(self, x):
            g = super().gradient(x)
            g[(self.ids == 0) & (np.abs(x).max(axis=1) > 1)] = np.nan
            g[self.ids == 1] = np.nan
            return g

    problems = Cliff(np.tile(np.eye(2), (3, 1, 1)), np.full((3, 2), 5.0))
    found = minimise(problems, np.zeros((3, 2)), target=np.full(3, 1e-8), max_iter=300)
    assert np.isfinite(found.x[0]).all() and np.abs(found.x[0]).max() <= 1 and found.norm[0] > 1e-8
    assert np.isnan(found.x[1]).all() and found.norm[1] == np.inf
    np.testing.assert_allclose(found.x[2], 5, atol=1e-6)
