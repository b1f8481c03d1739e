import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss

from tasks.ml.calibration import brier_score, pool_reliability
from tasks.ml.thresholds import BINS, histogram


def sigmoid(logits):
    return 1 / (1 + np.exp(-logits))


def test_brier_score_is_scikit_learns():
    rng = np.random.default_rng(0)
    logits = rng.normal(-3, 2, 1000)
    is_positive = rng.random(1000) < sigmoid(logits)
    assert brier_score(logits, is_positive) == pytest.approx(brier_score_loss(is_positive, sigmoid(logits)))


def test_brier_score_without_a_positive_is_not_defined():
    assert np.isnan(brier_score(np.zeros(3), np.zeros(3, bool)))


def test_brier_score_of_extreme_logits_is_finite():
    assert brier_score(np.array([900.0, -900.0]), np.array([True, True])) == 0.5


def test_reliability_is_what_counting_by_hand_gives():
    logits = np.array([-3.5, -3.2, -0.5, 0.1, 0.9, 50.0, -50.0])
    is_positive = np.array([False, True, False, True, True, True, False])
    bins = pool_reliability(histogram(logits, is_positive))
    assert bins.low.tolist() == [-20, -4, -1, 0, 19]
    assert bins.n_candidates.tolist() == [1, 2, 1, 2, 1]
    assert bins.n_held_out.tolist() == [0, 1, 0, 2, 1]
    assert bins.mean_predicted[1] == pytest.approx(sigmoid(np.array([-3.5, -3.2])).mean(), rel=0.01)


def test_reliability_agrees_with_scikit_learn_where_the_bins_are_the_same():
    rng = np.random.default_rng(1)
    logits = rng.choice([-2.5, -0.5, 1.5], 3000)  # one probability in each bin
    is_positive = rng.random(3000) < sigmoid(logits)
    observed, predicted = calibration_curve(is_positive, sigmoid(logits), n_bins=3)
    bins = pool_reliability(histogram(logits, is_positive))
    assert bins.n_held_out / bins.n_candidates == pytest.approx(observed)
    assert bins.mean_predicted == pytest.approx(predicted, rel=0.01)


def test_histograms_of_parts_add_up():
    rng = np.random.default_rng(2)
    logits, is_positive = rng.normal(0, 8, 500), rng.random(500) < 0.1
    parts = histogram(logits[:200], is_positive[:200]) + histogram(logits[200:], is_positive[200:])
    assert pool_reliability(parts).n_candidates.tolist() == (
        pool_reliability(histogram(logits, is_positive)).n_candidates.tolist()
    )


def test_nothing_gives_no_bin_and_another_shape_is_an_error():
    assert len(pool_reliability(np.zeros((2, BINS), np.int64)).low) == 0
    with pytest.raises(ValueError, match="histogram"):
        pool_reliability(np.zeros((2, 7), np.int64))
