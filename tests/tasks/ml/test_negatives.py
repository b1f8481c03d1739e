"""Weights of the shared rows."""

from __future__ import annotations

import numpy as np
import pytest

from tasks.ml.negatives import weigh_rows

IS_FIT = np.array([True, False] * 50)


@pytest.mark.parametrize("n_negatives", [0, 50, 1000])
def test_all_fit_rows_weigh_one(n_negatives: int) -> None:
    assert weigh_rows(IS_FIT, n_negatives=n_negatives, seed=1).tolist() == IS_FIT.tolist()


def test_a_sample_stands_for_all() -> None:
    weight = weigh_rows(IS_FIT, n_negatives=20, seed=1)
    assert np.count_nonzero(weight) == 20
    assert weight.sum() == pytest.approx(50)
    assert not weight[~IS_FIT].any()


def test_the_sample_depends_on_the_seed_alone() -> None:
    first = weigh_rows(IS_FIT, n_negatives=20, seed=1)
    assert np.array_equal(first, weigh_rows(IS_FIT, n_negatives=20, seed=1))
    assert not np.array_equal(first, weigh_rows(IS_FIT, n_negatives=20, seed=2))


def test_the_weighted_sum_is_unbiased() -> None:
    values = np.arange(100.0)
    sums = [weigh_rows(IS_FIT, n_negatives=10, seed=seed) @ values for seed in range(400)]
    assert np.mean(sums) == pytest.approx(values[IS_FIT].sum(), rel=0.03)
