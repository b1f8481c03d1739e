import numpy as np
import pytest

from tasks.ml.contributions import dense_contributions, group_of, sparse_contributions, split_coefficients


@pytest.mark.parametrize(
    ("column", "group"),
    [
        ("energy_3", "energy"),
        ("energy", "energy"),
        ("artist_vector_17", "artist_vector"),
        ("duration_ms", "duration_ms"),
        ("album_n_tracks", "album_n_tracks"),
        ("time_signature_0", "time_signature"),
    ],
)
def test_a_column_belongs_to_the_group_of_its_name(column, group):
    assert group_of(column) == group


def test_contributions_of_all_groups_add_up_to_the_score():
    rng = np.random.default_rng(0)
    X, coef = rng.normal(size=(50, 4)), rng.normal(size=4)
    groups, C = split_coefficients(["a_0", "a_1", "b", "c_0"], coef)
    assert groups == ["a", "b", "c"]
    assert (X @ C).sum(axis=1) == pytest.approx(X @ coef)
    assert (X @ C)[:, 0] == pytest.approx(X[:, :2] @ coef[:2])


def test_spread_and_lift_by_hand():
    spread, lift = dense_contributions(np.array([[0.0], [2.0]]), np.array([[4.0]]))
    assert (spread.tolist(), lift.tolist()) == ([1.0], [3.0])


def test_sparse_contributions_are_the_dense_ones():
    rng = np.random.default_rng(1)
    values = np.zeros((200, 2))
    listed = rng.choice(200, 15, replace=False)
    values[listed] = rng.normal(3, 1, (15, 2))
    is_held_out = rng.random(200) < 0.2
    dense = dense_contributions(values, values[is_held_out])
    sparse = sparse_contributions(values[listed], is_held_out[listed], 200, int(is_held_out.sum()))
    assert sparse[0] == pytest.approx(dense[0])
    assert sparse[1] == pytest.approx(dense[1])


def test_without_a_held_out_track_there_is_no_lift_and_without_a_candidate_nothing():
    assert np.isnan(dense_contributions(np.ones((3, 2)), np.empty((0, 2)))[1]).all()
    assert np.isnan(dense_contributions(np.empty((0, 2)), np.ones((1, 2)))).all()
    assert np.isnan(sparse_contributions(np.empty((0, 1)), np.empty(0, bool), 5, 0)[1]).all()
    assert np.isnan(sparse_contributions(np.empty((0, 1)), np.empty(0, bool), 0, 1)).all()
