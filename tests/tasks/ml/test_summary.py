import json
import statistics

import numpy as np
import pandas as pd
import pytest

from tasks.ml.summary import compare_pairs, describe, describe_metrics


def test_describe_by_hand():
    description = describe([0.0, 1.0, 2.0, 3.0, 10.0, np.nan])
    assert description == pytest.approx(
        {
            "mean": 3.2,
            "median": 2.0,
            "q10": 0.4,
            "q25": 1.0,
            "q75": 3.0,
            "q90": 7.2,
            "std": statistics.stdev([0, 1, 2, 3, 10]),
            "n": 5,
            "n_excluded": 1,
        }
    )


def test_describe_of_nothing_is_none_but_for_the_counts():
    description = describe([np.nan, np.nan])
    assert (description.pop("n"), description.pop("n_excluded")) == (0, 2)
    assert set(description.values()) == {None}
    assert set(description) == set(describe([1.0, 2.0])) - {"n", "n_excluded"}
    assert describe([])["n_excluded"] == 0


def test_describe_of_one_value_has_no_spread():
    assert describe([4.0])["std"] is None and describe([4.0])["mean"] == 4.0


def test_describe_excludes_infinite_values():
    assert describe([1.0, np.inf, -np.inf, np.nan])["mean"] == 1.0
    assert describe([1.0, np.inf, -np.inf, np.nan])["n_excluded"] == 3


def frame():
    return pd.DataFrame(
        {
            "playlist_id": ["a", "b", "a", "b"],
            "recommender": ["popularity", "popularity", "model", "model"],
            "auc": [0.5, np.nan, 0.75, 1.0],
            "n_candidates": [10, 12, 10, 12],
            "status": ["ok", "ok", "ok", "too_few"],
            "is_champion": [False, False, True, True],
        }
    )


def test_describe_metrics_by_recommender_and_metric():
    described = describe_metrics(frame())
    assert list(described) == ["model", "popularity"]
    assert list(described["model"]) == ["auc", "n_candidates"]
    assert described["model"]["auc"] == describe([0.75, 1.0])
    assert described["popularity"]["auc"]["n_excluded"] == 1
    assert described["popularity"]["n_candidates"]["mean"] == 11.0


def test_describe_metrics_is_json():
    assert json.loads(json.dumps(describe_metrics(frame()), allow_nan=False)) == describe_metrics(frame())


def test_describe_metrics_takes_nullable_and_categorical_columns():
    typed = frame().astype({"auc": "Float64", "recommender": "category", "playlist_id": "category"})
    assert describe_metrics(typed[typed["recommender"] == "model"]) == {"model": describe_metrics(frame())["model"]}


def test_integer_playlist_ids_are_not_a_metric():
    assert "playlist_id" not in describe_metrics(frame().assign(playlist_id=[1, 2, 1, 2]))["model"]


def test_describe_metrics_refuses_a_row_without_recommender():
    with pytest.raises(ValueError, match="recommender"):
        describe_metrics(frame().assign(recommender=["model", None, "model", "model"]))


def test_describe_metrics_of_no_rows_is_empty():
    assert describe_metrics(frame().iloc[:0]) == {}


def test_pairs_are_compared_with_the_best_rule_on_the_same_playlists():
    values = pd.DataFrame(
        {
            "model": [0.5, 0.7, 0.2, np.nan, 1.0],
            "rule": [0.4, 0.1, 0.3, 0.9, np.nan],
            "worse": [0.1, 0.0, 0.0, 0.0, 0.0],
        }
    )
    found = compare_pairs(values, ours="model")
    differences = [0.1, 0.6, -0.1]
    assert (found.rival, found.n, found.n_better, found.n_worse) == ("rule", 3, 2, 1)
    assert found.mean - found.rival_mean == pytest.approx(found.difference) == pytest.approx(np.mean(differences))
    assert found.standard_error == pytest.approx(statistics.stdev(differences) / 3**0.5)


def test_pairs_without_a_playlist_or_a_rival_are_none():
    assert compare_pairs(pd.DataFrame({"model": [np.nan], "rule": [1.0]}), ours="model") is None
    assert compare_pairs(pd.DataFrame({"model": [1.0]}), ours="model") is None
    assert np.isnan(compare_pairs(pd.DataFrame({"model": [1.0], "rule": [1.0]}), ours="model").standard_error)
