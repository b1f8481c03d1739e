import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ml.selection import count_above, top_k, top_k_outside


def best_by_full_sort(scores, k, tie_order):
    return sorted(range(len(scores)), key=lambda i: (-float(scores[i]), tie_order[i]))[:k]


@settings(max_examples=200, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    n=st.integers(0, 3000),
    k=st.integers(0, 700),
    n_levels=st.sampled_from([1, 2, 5, 1000, 10**9]),
    dtype=st.sampled_from([np.float32, np.float64, np.int64, np.uint32]),
)
def test_top_k_is_the_head_of_a_full_sort(seed, n, k, n_levels, dtype):
    rng = np.random.default_rng(seed)
    scores = (rng.pareto(1.0, n) * n_levels / 10).clip(0, 10**9).astype(dtype)
    tie_order = rng.permutation(n) * 3 - n
    assert top_k(scores, k, tie_order).tolist() == best_by_full_sort(scores, k, tie_order)


@settings(max_examples=100, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1), n=st.integers(0, 300), k=st.integers(0, 320), n_levels=st.sampled_from([1, 5, 1000])
)
def test_top_k_outside_is_the_head_of_a_full_sort_without_those_inside(seed, n, k, n_levels):
    rng = np.random.default_rng(seed)
    scores, tie_order = rng.integers(0, n_levels, n).astype(float), rng.permutation(n)
    inside = rng.permutation(n)[: rng.integers(0, n + 1)]
    expected = [i for i in best_by_full_sort(scores, n, tie_order) if i not in set(inside.tolist())][:k]
    assert top_k_outside(scores, inside, k, tie_order).tolist() == expected


@pytest.mark.parametrize("n_nonzero", [0, 3, 99, 100, 101, 400])
def test_top_k_of_counts_that_are_mostly_zero(n_nonzero):
    rng = np.random.default_rng(n_nonzero)
    scores = rng.permutation(np.concatenate([np.zeros(20_000 - n_nonzero), rng.integers(1, 4, n_nonzero)]))
    tie_order = rng.permutation(scores.size)
    assert top_k(scores, 100, tie_order).tolist() == best_by_full_sort(scores, 100, tie_order)


def test_top_k_where_every_64th_score_misleads():
    rng = np.random.default_rng(0)
    tie_order = rng.permutation(12_800)
    for high in (5.0, -5.0):
        scores = rng.normal(size=12_800)
        scores[::64] = high
        assert top_k(scores, 300, tie_order).tolist() == best_by_full_sort(scores, 300, tie_order)


def test_top_k_breaks_ties_by_tie_order_and_not_by_position():
    scores = np.array([1.0, 2.0, 1.0, 1.0, 0.0])
    assert top_k(scores, 3, np.array([9, 8, 2, 5, 1])).tolist() == [1, 2, 3]
    assert top_k(scores, 3, np.array([2, 8, 9, 5, 1])).tolist() == [1, 0, 3]
    assert top_k(scores, 3, np.array([2, 8, 9, 5, 1], dtype=np.uint64)).tolist() == [1, 0, 3]


def test_top_k_takes_infinite_scores():
    scores = np.array([-np.inf, 0.0, np.inf, -np.inf])
    assert top_k(scores, 4, np.array([1, 2, 3, 0])).tolist() == [2, 1, 3, 0]


def test_top_k_larger_than_n_gives_all():
    assert top_k(np.array([1.0, 3.0, 2.0]), 10, np.arange(3)).tolist() == [1, 2, 0]


def test_top_k_of_nothing_is_empty():
    assert top_k(np.empty(0), 5, np.empty(0, dtype=np.int64)).tolist() == []
    assert top_k(np.array([1.0]), 0, np.array([0])).tolist() == []


@pytest.mark.parametrize(
    ("scores", "k", "n_ties"), [([1.0, np.nan], 1, 2), ([1.0, np.nan], 0, 2), ([1.0], -1, 1), ([1.0, 2.0], 1, 3)]
)
def test_top_k_refuses_bad_input(scores, k, n_ties):
    with pytest.raises(ValueError):
        top_k(np.array(scores), k, np.arange(n_ties))


@pytest.mark.parametrize("n_levels", [0, 1, 7, 128, 129, 400])
@pytest.mark.parametrize("or_equal", [False, True])
def test_count_above_few_and_many_levels(n_levels, or_equal):
    rng = np.random.default_rng(n_levels)
    levels, scores = np.sort(rng.integers(0, 300, n_levels)), rng.integers(-20, 320, 1000)
    expected = [sum(score > level or (or_equal and score == level) for score in scores) for level in levels]
    assert count_above(levels, scores, or_equal=or_equal).tolist() == expected
