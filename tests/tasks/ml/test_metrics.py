import math

import numpy as np
import pytest
import pytrec_eval
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn import metrics as sk

from tasks.ml.metrics import (
    classification_metrics,
    metrics_without_model,
    playlist_metrics,
    rank_metrics,
    train_metrics,
)

RANK_METRICS = ["r_precision", "ndcg_at_500", "recall_at_100", "clicks", "auc"]


@st.composite
def rankings(draw, min_relevant=0):
    """Scores with anything from no ties to nothing but ties, relevant flags and a tie order."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n = draw(st.integers(max(1, min_relevant), 1500))
    n_relevant = draw(st.integers(min_relevant, min(n, draw(st.sampled_from([1, 5, 50, 700])))))
    is_relevant = rng.permutation(n) < n_relevant
    scores = rng.normal(size=n) + draw(st.sampled_from([-3.0, 0.0, 1.0, 3.0])) * is_relevant
    scores = np.round(scores * draw(st.sampled_from([0.1, 0.5, 10, 1e6]))).astype(draw(st.sampled_from(["f4", "f8"])))
    return scores, is_relevant, rng.permutation(n) * 5 - 7


def best_first(scores, tie_order):
    return np.lexsort((tie_order, -scores))


def trec(scores, is_relevant, tie_order):
    order = best_first(scores, tie_order)
    run = {f"t{track}": float(scores.size - place) for place, track in enumerate(order)}
    evaluator = pytrec_eval.RelevanceEvaluator(
        {"p": {f"t{track}": int(flag) for track, flag in enumerate(is_relevant)}},
        {"Rprec", "ndcg_cut_500", "recall_100", "recip_rank"},
    )
    return evaluator.evaluate({"p": run})["p"]


@settings(max_examples=100, deadline=None)
@given(rankings(min_relevant=1))
def test_rank_metrics_equal_trec_eval_on_the_tie_broken_order(ranking):
    ours, theirs = rank_metrics(*ranking), trec(*ranking)
    assert ours["r_precision"] == pytest.approx(theirs["Rprec"], abs=1e-12)
    assert ours["ndcg_at_500"] == pytest.approx(theirs["ndcg_cut_500"], abs=1e-12)
    assert ours["recall_at_100"] == pytest.approx(theirs["recall_100"], abs=1e-12)
    first = round(1 / theirs["recip_rank"])
    assert ours["clicks"] == ((first - 1) // 10 if first <= 500 else 51)


@settings(max_examples=100, deadline=None)
@given(rankings(min_relevant=1))
def test_rank_metrics_equal_scikit_learn(ranking):
    scores, is_relevant, tie_order = ranking
    ours = rank_metrics(*ranking)
    if is_relevant.all():
        assert math.isnan(ours["auc"])
    else:
        assert ours["auc"] == pytest.approx(sk.roc_auc_score(is_relevant, scores), abs=1e-12)
    if scores.size > 1:
        untied = np.empty(scores.size)
        untied[best_first(scores, tie_order)] = -np.arange(scores.size)
        assert ours["ndcg_at_500"] == pytest.approx(sk.ndcg_score([is_relevant], [untied], k=500), abs=1e-12)


@settings(max_examples=30, deadline=None)
@given(rankings(min_relevant=1), st.integers(0, 2**32 - 1))
def test_rank_metrics_do_not_depend_on_row_order(ranking, seed):
    order = np.random.default_rng(seed).permutation(ranking[0].size)
    assert rank_metrics(*ranking) == pytest.approx(rank_metrics(*(vector[order] for vector in ranking)), nan_ok=True)


def test_rank_metrics_by_hand():
    scores, is_relevant = np.array([5.0, 4.0, 3.0, 3.0, 1.0]), np.array([False, True, True, False, False])
    ideal = 1 + 1 / math.log2(3)
    assert rank_metrics(scores, is_relevant, np.array([0, 1, 3, 2, 4])) == pytest.approx(
        {
            "r_precision": 0.5,
            "ndcg_at_500": (1 / math.log2(3) + 1 / math.log2(5)) / ideal,
            "recall_at_100": 1.0,
            "clicks": 0.0,
            "auc": (2 + 1.5) / 6,
        }
    )


@pytest.mark.parametrize(("rank", "clicks"), [(1, 0), (10, 0), (11, 1), (491, 49), (500, 49), (501, 51), (600, 51)])
def test_clicks_count_pages_of_ten_and_stop_at_500(rank, clicks):
    is_relevant = np.arange(600) == rank - 1
    assert rank_metrics(-np.arange(600.0), is_relevant, np.arange(600))["clicks"] == clicks


def test_no_relevant_candidate_is_nan_throughout():
    metrics = rank_metrics(np.arange(3.0), np.zeros(3, dtype=bool), np.arange(3))
    assert list(metrics) == RANK_METRICS and all(map(math.isnan, metrics.values()))


def test_no_candidate_at_all_is_nan_throughout():
    metrics = rank_metrics(np.empty(0), np.empty(0, dtype=bool), np.empty(0, dtype=np.int64))
    assert all(map(math.isnan, metrics.values()))


def test_only_relevant_candidates_leave_the_auc_undefined():
    metrics = rank_metrics(np.arange(3.0), np.ones(3, dtype=bool), np.arange(3))
    assert math.isnan(metrics.pop("auc"))
    assert metrics == {"r_precision": 1.0, "ndcg_at_500": 1.0, "recall_at_100": 1.0, "clicks": 0.0}


def test_equal_scores_of_relevant_and_irrelevant_are_a_coin_toss_for_auc():
    assert rank_metrics(np.zeros(10), np.arange(10) < 3, np.arange(10))["auc"] == 0.5


def test_infinite_scores_rank_at_the_ends():
    scores = np.array([np.inf, -np.inf, 0.0])
    assert rank_metrics(scores, np.array([True, False, False]), np.arange(3))["auc"] == 1.0
    assert rank_metrics(scores, np.array([False, True, False]), np.arange(3))["auc"] == 0.0


def test_nan_scores_and_unequal_lengths_are_refused():
    flags = np.array([True, False])
    with pytest.raises(ValueError, match="NaN"):
        rank_metrics(np.array([np.nan, 1.0]), flags, np.arange(2))
    with pytest.raises(ValueError, match="length"):
        rank_metrics(np.array([1.0]), flags, np.arange(2))
    with pytest.raises(ValueError, match="NaN"):
        classification_metrics(np.array([np.nan, 1.0]), flags, 0.0)


@settings(max_examples=100, deadline=None)
@given(rankings(min_relevant=1), st.floats(-5, 5))
def test_classification_metrics_equal_scikit_learn(ranking, threshold):
    scores, is_positive, _ = ranking
    predicted = scores.astype(np.float64) >= threshold
    assert classification_metrics(scores, is_positive, threshold) == pytest.approx(
        {
            "accuracy": sk.accuracy_score(is_positive, predicted),
            "precision": sk.precision_score(is_positive, predicted, zero_division=0),
            "recall": sk.recall_score(is_positive, predicted),
            "f1": sk.f1_score(is_positive, predicted, zero_division=0),
        }
    )


@pytest.mark.parametrize(
    ("is_positive", "threshold", "expected"),
    [
        ([True, False, False, False], np.nan, {"accuracy": 0.75, "precision": 0, "recall": 0, "f1": 0}),
        ([True, False, False, False], 3.0, {"accuracy": 0.5, "precision": 0, "recall": 0, "f1": 0}),
        ([False, False, False, True], 3.0, {"accuracy": 1, "precision": 1, "recall": 1, "f1": 1}),
        ([False] * 4, 3.0, {"accuracy": 0.75, "precision": 0, "recall": np.nan, "f1": np.nan}),
    ],
)
def test_classification_edges(is_positive, threshold, expected):
    metrics = classification_metrics(np.arange(4.0), np.array(is_positive), threshold)
    assert metrics == pytest.approx(expected, nan_ok=True)


def test_a_threshold_between_neighbouring_float32_scores_separates_them():
    low, high = np.float32(1), np.nextafter(np.float32(1), np.float32(2))
    middle = (float(low) + float(high)) / 2
    metrics = classification_metrics(np.array([low, high]), np.array([False, True]), middle)
    assert metrics["accuracy"] == 1.0


def test_train_metrics_are_the_two_of_the_fit_rows():
    scores, is_positive = np.array([2.0, 1.0, 0.0, -1.0]), np.array([True, False, True, False])
    assert train_metrics(scores, is_positive, 0.5) == {"train_accuracy": 0.5, "train_f1": 0.5}


@st.composite
def playlists(draw):
    scores, is_held_out, tie_order = draw(rankings())
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    is_train = ~is_held_out & (rng.random(scores.size) < draw(st.sampled_from([0.0, 0.1, 1.0])))
    is_cold = ~is_train & (rng.random(scores.size) < draw(st.sampled_from([0.0, 0.3, 1.0])))
    return scores, {"is_train": is_train, "is_held_out": is_held_out, "is_cold": is_cold}, tie_order


@settings(max_examples=150, deadline=None)
@given(playlists())
def test_playlist_metrics_are_the_simple_ones_on_each_subset(playlist):
    scores, flags, tie_order = playlist
    expected = {}
    for prefix, subset in (("", True), ("cold_", flags["is_cold"]), ("warm_", ~flags["is_cold"])):
        rows = ~flags["is_train"] & subset
        simple = rank_metrics(scores[rows], flags["is_held_out"][rows], tie_order[rows])
        expected |= {prefix + name: value for name, value in simple.items()}
        expected |= {f"{prefix}n_candidates": rows.sum(), f"{prefix}n_held_out": flags["is_held_out"][rows].sum()}
    rows = ~flags["is_train"]
    expected |= classification_metrics(scores[rows], flags["is_held_out"][rows], 0.3)
    actual = playlist_metrics(scores, **flags, tie_order=tie_order, threshold=0.3)
    assert actual == pytest.approx(expected, nan_ok=True, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(playlists())
def test_a_playlist_without_a_model_has_the_same_keys_and_the_same_nans(playlist):
    scores, flags, tie_order = playlist
    with_model = playlist_metrics(scores, **flags, tie_order=tie_order, threshold=np.inf)
    without = metrics_without_model(**flags)
    assert list(without) == list(with_model)
    worst = {"r_precision": 0, "ndcg_at_500": 0, "recall_at_100": 0, "clicks": 51, "auc": 0.5}
    for key, value in without.items():
        if math.isnan(with_model[key]):
            assert math.isnan(value), key
        else:
            # An infinite threshold predicts nothing, so counts and classification must agree.
            assert value == worst.get(key.removeprefix("cold_").removeprefix("warm_"), with_model[key]), key


def test_scores_of_train_tracks_are_not_looked_at():
    is_train = np.array([True, False, False])
    flags = {"is_train": is_train, "is_held_out": np.array([False, True, False]), "is_cold": np.zeros(3, dtype=bool)}
    options = flags | {"tie_order": np.arange(3), "threshold": 0.5}
    metrics = playlist_metrics(np.array([np.nan, 1.0, 0.0]), **options)
    assert metrics["n_candidates"] == 2 and metrics["auc"] == 1.0 and metrics["f1"] == 1.0
    with pytest.raises(ValueError, match="NaN"):
        playlist_metrics(np.array([0.0, 1.0, np.nan]), **options)


def test_more_held_out_tracks_than_passes_are_worth():
    rng = np.random.default_rng(3)
    scores, is_relevant, tie_order = rng.integers(0, 500, 4000) / 8, np.arange(4000) < 900, rng.permutation(4000)
    ours, theirs = rank_metrics(scores, is_relevant, tie_order), trec(scores, is_relevant, tie_order)
    assert ours["r_precision"] == pytest.approx(theirs["Rprec"])
    assert ours["ndcg_at_500"] == pytest.approx(theirs["ndcg_cut_500"])
    assert ours["auc"] == pytest.approx(sk.roc_auc_score(is_relevant, scores), abs=1e-12)
