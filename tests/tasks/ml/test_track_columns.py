import numpy as np

from tasks.ml.catalogue import catalogue_column
from tasks.ml.embeddings import fit_space, vectors
from tasks.ml.entities import count_entities
from tasks.ml.track_columns import entity_columns


def make_playlists(seed, n_playlists=20, n_tracks=120):
    """(indptr, tracks, codes, is_fit); codes rank names, as the pipeline's do; a third of the tracks is in no train."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(3, 15, n_playlists)
    tracks = np.concatenate([rng.permutation(2 * n_tracks // 3)[:size] for size in sizes])
    is_fit = np.isin(np.arange(n_tracks), tracks)
    return np.concatenate([[0], np.cumsum(sizes)]), tracks, rng.integers(0, 30, n_tracks), is_fit


def rank_names(names):
    return np.unique(names, return_inverse=True)[1]


def test_embedding_and_catalogue_side_by_side():
    indptr, tracks, codes, is_fit = make_playlists(0)
    made = entity_columns(indptr, tracks, codes, is_fit, kind="artist", n_dimensions=4)
    expected = vectors(fit_space(count_entities(indptr, tracks, codes), n_dimensions=4))[codes]
    assert made.columns == [*(f"artist_vector_{i}" for i in range(4)), "artist_n_tracks"]
    np.testing.assert_array_equal(made.X[:, :4], expected)
    column = catalogue_column(codes, is_fit)
    np.testing.assert_array_equal(made.X[:, 4], column.x)
    assert made.constants == {"artist_n_tracks": {"mean": column.mean, "std": column.std}}
    assert made.dropped == {}
    assert made.X.dtype == np.float32


def test_blocks_can_be_left_out():
    indptr, tracks, codes, is_fit = make_playlists(1)
    options = {"kind": "album", "n_dimensions": 0}
    assert entity_columns(indptr, tracks, codes, is_fit, **options).columns == ["album_n_tracks"]
    nothing = entity_columns(indptr, tracks, codes, is_fit, **options, catalogue=False)
    assert nothing.X.shape == (len(codes), 0)
    assert nothing.space is None
    assert nothing.dropped == {}


def test_without_known_entities_both_blocks_are_dropped_with_a_reason():
    indptr, tracks, codes, is_fit = make_playlists(2)
    made = entity_columns(indptr, tracks, np.full_like(codes, -1), is_fit, kind="album")
    assert made.X.shape == (len(codes), 0)
    assert made.dropped.keys() == {"album_vector", "album_n_tracks"}
    assert made.space is None


def test_scrambled_names_of_held_out_only_tracks_move_no_byte_of_fit_rows_or_constants():
    indptr, tracks, names, is_fit = make_playlists(3)
    made = entity_columns(indptr, tracks, rank_names(names), is_fit, kind="artist", n_dimensions=6)
    scrambled = names.copy()
    scrambled[~is_fit] = np.random.default_rng(0).integers(-10, 50, np.count_nonzero(~is_fit))
    other = entity_columns(indptr, tracks, rank_names(scrambled), is_fit, kind="artist", n_dimensions=6)
    assert rank_names(scrambled)[0] != rank_names(names)[0]
    assert other.X[is_fit].tobytes() == made.X[is_fit].tobytes()
    assert other.constants == made.constants


def test_a_track_of_no_train_playlist_takes_its_artists_vector():
    indptr, tracks, codes, is_fit = make_playlists(4)
    made = entity_columns(indptr, tracks, codes, is_fit, kind="artist", n_dimensions=5, catalogue=False)
    cold = next(i for i in np.flatnonzero(~is_fit) if codes[i] in codes[is_fit])
    sibling = next(i for i in np.flatnonzero(is_fit) if codes[i] == codes[cold])
    assert made.X[cold].any()
    np.testing.assert_array_equal(made.X[cold], made.X[sibling])
