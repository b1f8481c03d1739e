import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ml.thresholds import BINS, EDGES, combine, histogram, own_threshold, pooled_threshold


@st.composite
def labelled_scores(draw, min_positive=0):
    """Scores on a coarse or a fine grid of edges, with flags."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(max(1, min_positive), 400))
    is_positive = rng.permutation(n) < draw(st.integers(min_positive, min(n, draw(st.sampled_from([1, 5, 250])))))
    scores = np.round((rng.normal(size=n) * 3 + is_positive) * draw(st.sampled_from([1, 4, 64])))
    scores /= draw(st.sampled_from([1, 4, 64]))
    return np.clip(scores, -20, 20).astype(draw(st.sampled_from(["f4", "f8"]))), is_positive


def f1_at(threshold, scores, is_positive):
    predicted = scores.astype(np.float64) >= threshold
    return 2 * (predicted & is_positive).sum() / (predicted.sum() + is_positive.sum())


@settings(max_examples=100, deadline=None)
@given(labelled_scores(min_positive=1))
def test_own_threshold_is_the_best_of_all_cuts_and_the_highest_of_the_best(data):
    scores, is_positive = data
    threshold = own_threshold(scores, is_positive)
    levels = np.unique(scores).astype(np.float64)
    f1 = np.array([f1_at(level, scores, is_positive) for level in levels])
    best = np.flatnonzero(np.isclose(f1, f1.max(), rtol=1e-12))[-1]
    assert threshold == ((levels[best - 1] + levels[best]) / 2 if best else levels[0])


def test_own_threshold_with_more_positives_than_passes_are_worth():
    rng = np.random.default_rng(5)
    is_positive = np.arange(3000) < 400
    scores = rng.normal(size=3000) + is_positive
    best = max(f1_at(level, scores, is_positive) for level in scores)
    assert f1_at(own_threshold(scores, is_positive), scores, is_positive) == best


def test_own_threshold_by_hand():
    # Accepting 4 alone and accepting 4 to 1 both give F1 2/3; the higher threshold wins.
    scores, is_positive = np.array([4.0, 3.0, 2.0, 1.0, 0.0]), np.array([True, False, False, True, False])
    assert own_threshold(scores, is_positive) == 3.5


@pytest.mark.parametrize(
    ("scores", "is_positive", "expected"),
    [
        ([2.0, 1.0, 1.0], [True, True, True], 1.0),  # the lowest score is accepted too
        ([1.0, 1.0], [True, False], 1.0),
        ([5.0], [True], 5.0),
        ([1.0, -np.inf], [True, False], 1.0),
        ([np.inf, 1.0], [True, False], np.inf),
        ([1.0, 0.0], [False, False], np.nan),
        ([], [], np.nan),
        ([1e308, 1.5e308], [False, True], 1.25e308),
        ([1.0, np.nextafter(1.0, 2.0)], [False, True], np.nextafter(1.0, 2.0)),
    ],
)
def test_own_threshold_edges(scores, is_positive, expected):
    actual = own_threshold(np.array(scores, dtype=np.float64), np.array(is_positive, dtype=bool))
    assert actual == pytest.approx(expected, nan_ok=True, rel=1e-16)


def test_own_threshold_separates_neighbouring_float32_scores():
    scores = np.array([1.0, np.nextafter(np.float32(1), np.float32(2))], dtype=np.float32)
    low, high = scores.astype(np.float64)
    assert low < own_threshold(scores, np.array([False, True])) <= high


def test_nan_scores_and_unequal_lengths_are_refused():
    for function in (own_threshold, histogram):
        with pytest.raises(ValueError, match="NaN"):
            function(np.array([np.nan, 1.0]), np.array([True, False]))
        with pytest.raises(ValueError, match="length"):
            function(np.array([1.0]), np.array([True, False]))


@settings(max_examples=100, deadline=None)
@given(labelled_scores(), labelled_scores())
def test_histograms_add_up(one, other):
    together = [np.concatenate(pair) for pair in zip(one, other, strict=True)]
    np.testing.assert_array_equal(histogram(*one) + histogram(*other), histogram(*together))


def test_histogram_counts_scores_between_edges():
    below, above = np.nextafter(EDGES[0], -np.inf), np.nextafter(EDGES[-1], np.inf)
    scores = np.array([-np.inf, -1e300, below, EDGES[0], EDGES[1], 0.0, 0.01, EDGES[-1], above, np.inf])
    counts = histogram(scores, scores > 0)
    assert counts.shape == (2, BINS) and counts.dtype == np.int64
    expected = np.searchsorted(EDGES, scores, side="right")
    np.testing.assert_array_equal(counts[1], np.bincount(expected, minlength=BINS))
    np.testing.assert_array_equal(counts[0], np.bincount(expected[scores > 0], minlength=BINS))
    assert counts[1, 0] == 3 and counts[1, -1] == 3


def test_histogram_of_float32_scores_is_that_of_the_same_numbers_in_float64():
    scores = np.random.default_rng(0).normal(scale=12, size=5000).astype(np.float32)
    np.testing.assert_array_equal(histogram(scores, scores > 1), histogram(scores.astype(np.float64), scores > 1))


@settings(max_examples=40, deadline=None)
@given(st.lists(labelled_scores(), min_size=1, max_size=3))
def test_pooled_threshold_is_the_best_and_highest_edge(playlists):
    scores, is_positive = (np.concatenate(parts) for parts in zip(*playlists, strict=True))
    threshold = pooled_threshold(sum(histogram(*playlist) for playlist in playlists))
    if not is_positive.any():
        assert math.isnan(threshold)
        return
    # Scores lie on edges, so nothing is lost by looking at distinct scores only.
    f1 = {level: f1_at(level, scores, is_positive) for level in np.unique(scores)}
    best = max(level for level in f1 if math.isclose(f1[level], max(f1.values()), rel_tol=1e-12))
    assert threshold == best


def test_pooled_threshold_of_positives_below_every_edge_accepts_nothing_within_reach():
    assert pooled_threshold(histogram(np.array([-30.0, -25.0]), np.array([True, False]))) == EDGES[-1]


def test_pooled_threshold_refuses_another_shape():
    with pytest.raises(ValueError, match="shape"):
        pooled_threshold(np.zeros((2, BINS - 1), dtype=np.int64))


def test_combine_takes_the_midpoint_and_the_pooled_one_where_own_is_missing():
    np.testing.assert_array_equal(combine(np.array([1.0, np.nan, -3.0]), 2.0), [1.5, 2.0, -0.5])
    assert np.isnan(combine(np.array([np.nan]), np.nan)).all()
