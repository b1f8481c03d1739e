from dataclasses import dataclass

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.ml.embeddings import SCALE, SHRINKAGE, EntitySpace, fit_space, place_playlists, vectors
from tasks.ml.entities import count_entities, index_entities
from tasks.ml.playlist_rows import (
    EmbeddedColumns,
    PlaylistColumns,
    build_own_rows,
    chunk_playlists,
    score_differences,
)


@dataclass
class Sample:
    """A few playlists over a small catalogue, and a shared matrix: two plain columns, artist block, album block."""

    indptr: np.ndarray
    tracks: np.ndarray
    artist: np.ndarray
    album: np.ndarray
    spaces: list[EntitySpace]
    X: np.ndarray
    embedded: tuple[EmbeddedColumns, ...]

    @property
    def n_playlists(self):
        return len(self.indptr) - 1

    def train(self, j):
        return self.tracks[self.indptr[j] : self.indptr[j + 1]]

    def is_fit(self):
        return np.isin(np.arange(len(self.artist)), self.tracks)

    def related(self, is_listed):
        return tuple(index_entities(codes, is_listed) for codes in (self.artist, self.album))

    def features_without(self, j, i):
        """Row i of the shared matrix as if playlist j did not hold track i, with explicit loops."""
        row = self.X[i].astype(np.float64)
        for space, codes, block in zip(self.spaces, (self.artist, self.album), self.embedded, strict=True):
            counts = count_entities(self.indptr, self.tracks, codes)
            left = counts.toarray()
            if codes[i] < 0:
                row[block.columns] = 0
                continue
            left[j, codes[i]] -= 1
            total = np.log1p(left[:, codes[i]]) @ place_playlists(space, counts)
            row[block.columns] = SCALE * total / (np.linalg.norm(total) + SHRINKAGE * np.sqrt(len(total)))
        return row

    def affinities(self, j, i):
        others = [k for k in self.train(j) if k != i]
        return [np.log1p(sum(c[k] == c[i] >= 0 for k in others)) for c in (self.artist, self.album)]


def make_sample(seed):
    rng = np.random.default_rng(seed)
    n = 40
    sizes = rng.integers(1, 12, 7)
    tracks = np.concatenate([rng.permutation(n)[:size] for size in sizes])
    indptr = np.concatenate([[0], np.cumsum(sizes)])
    artist = rng.integers(-1, 12, n)
    album = np.where(artist < 0, -1, artist * 2 + rng.integers(0, 2, n))
    spaces = [fit_space(count_entities(indptr, tracks, c), n_dimensions=3) for c in (artist, album)]
    blocks = [vectors(space)[codes] for space, codes in zip(spaces, (artist, album), strict=True)]
    X = np.concatenate([rng.normal(size=(n, 2)).astype(np.float32), *blocks], axis=1)
    ends = np.cumsum([2, *(block.shape[1] for block in blocks)])
    embedded = tuple(
        EmbeddedColumns(space, codes, slice(start, end))
        for space, codes, start, end in zip(spaces, (artist, album), ends[:-1], ends[1:], strict=True)
    )
    return Sample(indptr, tracks, artist, album, spaces, X, embedded)


samples = st.builds(make_sample, st.integers(0, 2**32 - 1))


def entries(own):
    return np.repeat(np.arange(len(own.indptr) - 1), np.diff(own.indptr)), own.rows


@settings(max_examples=25, deadline=None)
@given(samples)
def test_own_rows_are_the_train_tracks_and_the_fit_tracks_of_their_artists(sample):
    is_fit = sample.is_fit()
    columns = PlaylistColumns(sample.embedded, sample.related(is_fit))
    own = build_own_rows(sample.X, sample.indptr, sample.tracks, columns)
    for j in range(sample.n_playlists):
        train = sample.train(j)
        shares = np.isin(sample.artist, sample.artist[train][sample.artist[train] >= 0])
        rows = own.rows[own.indptr[j] : own.indptr[j + 1]]
        assert rows.tolist() == sorted({*train.tolist(), *np.flatnonzero(shares & is_fit).tolist()})
        assert set(rows[own.is_positive[own.indptr[j] : own.indptr[j + 1]]]) == set(train)


@settings(max_examples=25, deadline=None)
@given(samples)
def test_positives_leave_their_own_membership_out_of_every_block(sample):
    columns = PlaylistColumns(sample.embedded, sample.related(sample.is_fit()))
    own = build_own_rows(sample.X, sample.indptr, sample.tracks, columns)
    for m, (j, i) in enumerate(zip(*entries(own), strict=True)):
        expected = sample.features_without(j, i) if own.is_positive[m] else sample.X[i]
        np.testing.assert_allclose(own.X[m], expected, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(own.extra[m], sample.affinities(j, i), rtol=1e-6, atol=1e-9)
    assert own.X.dtype == own.extra.dtype == np.float32


def test_a_track_that_only_this_playlist_knows_shows_nothing_of_it():
    alone = np.arange(40)  # every track its own artist, in one playlist
    counts = count_entities(np.array([0, 3, 6]), np.arange(6), alone)
    space = fit_space(counts)
    X = vectors(space)[alone]
    columns = PlaylistColumns(
        (EmbeddedColumns(space, alone, slice(0, X.shape[1])),), (index_entities(alone, alone < 6),)
    )
    own = build_own_rows(X, np.array([0, 3, 6]), np.arange(6), columns)
    assert own.is_positive.all()
    assert not own.X.any()
    assert not own.extra.any()
    assert X[:6].any(axis=1).all()


@settings(max_examples=25, deadline=None)
@given(samples, st.integers(0, 2**32 - 1))
def test_scores_with_differences_are_those_of_each_tracks_own_features(sample, seed):
    rng = np.random.default_rng(seed)
    coef = rng.normal(size=(sample.n_playlists, sample.X.shape[1]))
    extra_coef = rng.normal(size=(sample.n_playlists, 2))
    columns = PlaylistColumns(sample.embedded, sample.related(np.ones(40, bool)))
    own = build_own_rows(sample.X, sample.indptr, sample.tracks, columns)
    scores = coef @ sample.X.T.astype(np.float64)
    playlist, rows = entries(own)
    scores[playlist, rows] += score_differences(own, sample.X, coef, extra_coef)
    for j in range(sample.n_playlists):
        for i in range(40):
            row = sample.features_without(j, i) if i in sample.train(j) else sample.X[i]
            expected = row @ coef[j] + np.dot(sample.affinities(j, i), extra_coef[j])
            np.testing.assert_allclose(scores[j, i], expected, rtol=1e-3, atol=2e-3)


def test_without_blocks_own_rows_are_the_train_tracks_and_change_no_score():
    sample = make_sample(1)
    own = build_own_rows(sample.X, sample.indptr, sample.tracks, PlaylistColumns())
    assert own.X is None
    assert own.extra is None
    assert own.is_positive.all()
    for j in range(sample.n_playlists):
        assert own.rows[own.indptr[j] : own.indptr[j + 1]].tolist() == sorted(sample.train(j).tolist())
    coef, extra_coef = np.ones((sample.n_playlists, sample.X.shape[1])), np.empty((sample.n_playlists, 0))
    assert not score_differences(own, sample.X, coef, extra_coef).any()


def test_playlists_without_train_tracks_own_no_rows():
    sample = make_sample(2)
    columns = PlaylistColumns(sample.embedded, sample.related(sample.is_fit()))
    own = build_own_rows(sample.X, np.array([0, 0, 3, 3]), sample.train(0)[:3], columns)
    assert own.indptr[1] == 0
    assert own.indptr[2] == own.indptr[3] == len(own.rows)
    nothing = build_own_rows(sample.X, np.array([0, 0]), np.empty(0, np.int64), columns)
    assert nothing.indptr.tolist() == [0, 0]
    assert nothing.X.shape == (0, sample.X.shape[1])


@settings(max_examples=25, deadline=None)
@given(samples, st.integers(1, 80))
def test_chunks_cover_all_playlists_in_order_and_change_no_row(sample, max_rows):
    columns = PlaylistColumns(sample.embedded, sample.related(sample.is_fit()))
    whole = build_own_rows(sample.X, sample.indptr, sample.tracks, columns)
    chunks = list(chunk_playlists(sample.indptr, sample.tracks, columns, max_rows=max_rows))
    assert [j for chunk in chunks for j in range(chunk.start, chunk.stop)] == list(range(sample.n_playlists))
    for chunk in chunks:
        start, end = sample.indptr[chunk.start], sample.indptr[chunk.stop]
        indptr = sample.indptr[chunk.start : chunk.stop + 1] - start
        own = build_own_rows(sample.X, indptr, sample.tracks[start:end], columns)
        assert len(own.rows) <= max_rows or chunk.stop - chunk.start == 1
        assert own.X.tobytes() == whole.X[whole.indptr[chunk.start] : whole.indptr[chunk.stop]].tobytes()


def test_no_playlists_make_no_chunks():
    assert list(chunk_playlists(np.array([0]), np.empty(0, np.int64), PlaylistColumns())) == []
