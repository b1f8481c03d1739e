import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ml.entities import count_entities, index_entities, look_up, owners

CODES = np.array([0, 0, 2, -1, 2, 0], dtype=np.int32)


def test_owners_skip_empty_groups():
    assert owners(np.array([0, 2, 2, 3])).tolist() == [0, 0, 2]


def test_counts_by_hand_leave_unknown_entities_out():
    counts = count_entities(np.array([0, 4, 4, 6]), np.array([0, 1, 2, 3, 3, 5]), CODES)
    assert counts.toarray().tolist() == [[2, 0, 1], [0, 0, 0], [1, 0, 0]]
    assert counts.dtype == np.int32


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(0, 5), st.integers(1, 30), st.integers(1, 6))
def test_look_up_reads_the_dense_matrix(seed, n_playlists, n_tracks, n_codes):
    rng = np.random.default_rng(seed)
    codes = rng.integers(-1, n_codes, n_tracks)
    sizes = rng.integers(0, n_tracks + 1, n_playlists)
    tracks = np.concatenate([rng.permutation(n_tracks)[:size] for size in sizes] + [np.empty(0, int)])
    counts = count_entities(np.concatenate([[0], np.cumsum(sizes)]).astype(int), tracks, codes)
    n_known = counts.shape[1]
    playlist, entity = np.divmod(np.arange(n_playlists * (n_known + 1)), n_known + 1)
    expected = np.pad(counts.toarray(), ((0, 0), (1, 0))).ravel()
    np.testing.assert_array_equal(look_up(counts, playlist, entity - 1), expected)


def test_without_any_entity_every_count_is_0():
    codes = np.full(3, -1)
    counts = count_entities(np.array([0, 2]), np.array([0, 2]), codes)
    assert counts.shape == (1, 0)
    assert look_up(counts, np.array([0, 0]), np.array([-1, -1])).tolist() == [0, 0]


def test_an_index_lists_the_chosen_tracks_of_each_entity():
    index = index_entities(CODES, np.array([True, False, True, True, True, True]))
    assert index.indptr.tolist() == [0, 2, 2, 4]
    assert index.tracks.tolist() == [0, 5, 2, 4]
    assert index.codes is CODES
