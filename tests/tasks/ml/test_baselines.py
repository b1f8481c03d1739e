import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ml.baselines import item_knn_scores, item_profiles, popularity_scores, same_artist_album_scores


def test_popularity_is_log1p_of_train_memberships():
    scores = popularity_scores(np.array([0, 1, 6, 1], dtype=np.int32))
    np.testing.assert_allclose(scores, np.log([1, 2, 7, 2]))
    assert scores.dtype == np.float64


def test_popularity_keeps_neighbouring_large_counts_apart():
    low, high = popularity_scores(np.array([5_000_000, 5_000_001]))
    assert low < high


def test_same_artist_and_album_counts_by_hand():
    artist = np.array([0, 0, 0, 1, -1, -1], dtype=np.int32)
    album = np.array([0, 0, 1, 2, -1, 2], dtype=np.int32)
    scores = same_artist_album_scores(np.array([0, 3, 4]), artist, album)
    np.testing.assert_allclose(np.expm1(scores), [2, 2, 1, 2, 0, 1])


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 60), st.integers(1, 8))
def test_same_artist_and_album_counts_against_loops(seed, n, n_codes):
    rng = np.random.default_rng(seed)
    artist, album = rng.integers(-1, n_codes, (2, n)).astype(np.int32)
    train = rng.permutation(n)[: n // 3]
    expected = [sum((artist[i] == artist[j] >= 0) + int(album[i] == album[j] >= 0) for j in train) for i in range(n)]
    np.testing.assert_allclose(np.expm1(same_artist_album_scores(train, artist, album)), expected, atol=1e-9)


def test_unknown_codes_match_nothing_not_even_each_other():
    unknown = np.full(3, -1, dtype=np.int32)
    assert same_artist_album_scores(np.array([0, 1]), unknown, unknown).tolist() == [0.0, 0.0, 0.0]


def test_a_playlist_without_train_tracks_scores_zero():
    codes = np.array([0, 1], dtype=np.int32)
    assert same_artist_album_scores(np.empty(0, dtype=np.int64), codes, codes).tolist() == [0.0, 0.0]


def test_unequal_code_vectors_are_refused():
    with pytest.raises(ValueError, match="one code per track"):
        same_artist_album_scores(np.array([0]), np.array([0, 1]), np.array([0]))


def test_item_knn_by_hand():
    profiles = item_profiles(np.array([0, 2, 4, 5]), np.array([0, 1, 1, 2, 1]), 4)
    scores = item_knn_scores(np.array([0]), profiles)
    np.testing.assert_allclose(np.expm1(scores), [1, 1 / np.sqrt(3), 0, 0], atol=1e-12)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 12), st.integers(1, 30))
def test_item_knn_is_the_sum_of_cosines_between_columns(seed, n_playlists, n):
    rng = np.random.default_rng(seed)
    dense = rng.random((n_playlists, n)) < 0.3
    norms = np.sqrt(dense.sum(axis=0))
    together = dense.T.astype(float) @ dense
    cosines = np.divide(together, np.outer(norms, norms), out=np.zeros((n, n)), where=together > 0)
    indptr = np.concatenate([[0], np.cumsum(dense.sum(axis=1))])
    train = rng.permutation(n)[: n // 3]
    scores = item_knn_scores(train, item_profiles(indptr, np.nonzero(dense)[1], n))
    np.testing.assert_allclose(np.expm1(scores), cosines[:, train].sum(axis=1), atol=1e-9)


def test_item_knn_without_train_tracks_or_neighbours_scores_zero():
    profiles = item_profiles(np.array([0, 2]), np.array([0, 1]), 3)
    assert item_knn_scores(np.empty(0, dtype=np.int64), profiles).tolist() == [0.0, 0.0, 0.0]
    assert item_knn_scores(np.array([2]), profiles).tolist() == [0.0, 0.0, 0.0]
