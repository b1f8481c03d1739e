from itertools import pairwise

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ml.affinity import affinity, n_related, related_tracks
from tasks.ml.entities import count_entities, index_entities


@st.composite
def playlists(draw):
    """(indptr, tracks, codes) of a few playlists, some empty, some tracks of unknown entity."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n_tracks = draw(st.integers(1, 40))
    sizes = rng.integers(0, n_tracks // 2 + 1, draw(st.integers(1, 5)))
    tracks = np.concatenate([rng.permutation(n_tracks)[:size] for size in sizes])
    return np.concatenate([[0], np.cumsum(sizes)]), tracks, rng.integers(-1, draw(st.integers(1, 12)), n_tracks)


@settings(max_examples=60, deadline=None)
@given(playlists(), st.integers(0, 2**32 - 1))
def test_related_are_the_listed_tracks_by_an_entity_of_the_playlist(data, seed):
    indptr, tracks, codes = data
    is_listed = np.random.default_rng(seed).random(len(codes)) < 0.7
    index = index_entities(codes, is_listed)
    playlist, track = related_tracks(indptr, tracks, index)
    expected = [
        (j, i)
        for j in range(len(indptr) - 1)
        for i in np.flatnonzero(is_listed)
        if codes[i] >= 0 and codes[i] in codes[tracks[indptr[j] : indptr[j + 1]]]
    ]
    assert sorted(zip(playlist.tolist(), track.tolist(), strict=True)) == expected
    assert n_related(indptr, tracks, index).tolist() == np.bincount(playlist, minlength=len(indptr) - 1).tolist()


@settings(max_examples=60, deadline=None)
@given(playlists())
def test_affinity_counts_the_other_train_tracks_of_the_entity(data):
    indptr, tracks, codes = data
    n = len(codes)
    playlist, track = np.divmod(np.arange((len(indptr) - 1) * n), n)
    train = [tracks[a:b].tolist() for a, b in pairwise(indptr)]
    is_positive = np.array([i in train[j] for j, i in zip(playlist, track, strict=True)], bool)
    found = affinity(count_entities(indptr, tracks, codes), codes, playlist, track, is_positive)
    expected = [
        sum(codes[other] == codes[i] >= 0 for other in train[j] if other != i)
        for j, i in zip(playlist, track, strict=True)
    ]
    np.testing.assert_allclose(np.expm1(found), expected, atol=1e-9)


def test_a_train_track_alone_by_its_artist_shares_with_none_and_another_of_the_artist_with_one():
    codes = np.array([0, 0, 1])
    counts = count_entities(np.array([0, 1]), np.array([0]), codes)
    pairs = {"playlist": np.zeros(3, int), "track": np.arange(3)}
    found = affinity(counts, codes, **pairs, is_positive=np.array([True, False, False]))
    np.testing.assert_allclose(found, [0, np.log(2), 0])
