import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from tasks.ml.embeddings import SCALE, SHRINKAGE, fit_space, place_playlists, vectors, vectors_without


def random_counts(seed, n_playlists=40, n_entities=25, density=0.2):
    rng = np.random.default_rng(seed)
    dense = rng.integers(1, 5, (n_playlists, n_entities)) * (rng.random((n_playlists, n_entities)) < density)
    return csr_array(dense.astype(np.int32))


def shrink(sums):
    return SCALE * sums / (np.linalg.norm(sums, axis=-1, keepdims=True) + SHRINKAGE * np.sqrt(sums.shape[-1]))


def test_coordinates_are_the_left_singular_vectors_of_weighted_unit_rows():
    counts = random_counts(0)
    dense = counts.toarray()
    idf = np.log(1 + len(dense) / (dense > 0).sum(axis=0))
    weighted = np.log1p(dense) * idf
    u, s, _ = np.linalg.svd(weighted / np.linalg.norm(weighted, axis=1, keepdims=True), full_matrices=False)
    placed = place_playlists(fit_space(counts, n_dimensions=5), counts)
    assert s[4] - s[5] > 1e-3
    np.testing.assert_allclose(np.abs(placed), np.abs(u[:, :5]) * np.sqrt(len(dense)), atol=2e-3)
    largest = np.abs(placed).argmax(axis=0)
    assert (placed[largest, range(5)] > 0).all()


def test_a_vector_points_to_the_sum_of_its_playlists():
    counts = random_counts(1)
    space = fit_space(counts, n_dimensions=6)
    sums = np.log1p(counts.toarray()).T @ place_playlists(space, counts)
    np.testing.assert_allclose(vectors(space)[:-1], shrink(sums), rtol=1e-5, atol=1e-6)
    assert np.linalg.norm(vectors(space), axis=1).max() < SCALE


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32 - 1), st.floats(0.03, 0.5))
def test_without_a_membership_is_the_sum_over_what_is_left(seed, density):
    counts = random_counts(seed, density=density)
    space = fit_space(counts, n_dimensions=4)
    coordinates = place_playlists(space, counts)
    playlist, entity = counts.nonzero()
    count = counts.toarray()[playlist, entity]
    found = vectors_without(space, coordinates[playlist], entity, count)
    for row, (p, e) in zip(found, zip(playlist, entity, strict=True), strict=True):
        left = counts.toarray()
        left[p, e] -= 1
        np.testing.assert_allclose(row, shrink(np.log1p(left[:, e]) @ coordinates), rtol=1e-3, atol=1e-4)
        assert left[:, e].any() or not row.any()


def test_an_only_membership_leaves_exactly_nothing_and_a_second_one_something():
    counts = csr_array(np.array([[1, 2, 0], [0, 0, 3], [0, 1, 1]], np.int32))
    space = fit_space(counts)
    coordinates = place_playlists(space, counts)
    left = vectors_without(space, coordinates[[0, 0, 0]], np.array([0, 1, -1]), np.array([1, 2, 0]))
    assert not left[0].any()
    assert left[1].any()
    assert not left[2].any()
    assert vectors(space)[0].any()


def test_the_own_membership_pulls_a_vector_to_its_playlist():
    counts = random_counts(2, n_playlists=60, density=0.04)
    space = fit_space(counts, n_dimensions=8)
    playlist, entity = counts.nonzero()
    own = place_playlists(space, counts)[playlist]
    left = vectors_without(space, own, entity, counts.toarray()[playlist, entity])
    with_itself, without = (np.sum(own * x, axis=1) for x in (vectors(space)[entity], left))
    assert (with_itself > without).all()


def test_entities_that_train_does_not_know_have_no_vector_and_move_no_byte_of_the_others():
    dense = random_counts(3).toarray()
    dense[:, 4] = 0
    space = fit_space(csr_array(dense))
    assert not vectors(space)[4].any()
    assert not vectors(space)[-1].any()
    wider = fit_space(csr_array(np.insert(dense, [0, 7, 7, 25], 0, axis=1)))
    seen = np.delete(np.arange(29), [0, 8, 9, 28])
    assert wider.sums[seen].tobytes() == space.sums.tobytes()
    assert wider.projection[seen].tobytes() == space.projection.tobytes()


def test_the_same_counts_give_the_same_bytes():
    first, second = (fit_space(random_counts(4), n_dimensions=7) for _ in range(2))
    assert first.sums.tobytes() == second.sums.tobytes()


@pytest.mark.parametrize(
    ("dense", "k"),
    [
        pytest.param([[1, 2, 0, 1], [0, 1, 1, 1]], 2, id="fewer playlists than dimensions"),
        pytest.param([[1], [2], [0], [1]], 1, id="one entity"),
        pytest.param([[1, 2], [1, 2], [1, 2]], 1, id="all playlists alike"),
        pytest.param([[0, 0], [0, 0]], 0, id="no membership"),
    ],
)
def test_no_more_dimensions_than_the_rank(dense, k):
    counts = csr_array(np.array(dense, np.int32))
    space = fit_space(counts)
    assert vectors(space).shape == (counts.shape[1] + 1, k)
    assert np.isfinite(vectors(space)).all()


def test_without_entities_vectors_have_no_columns():
    space = fit_space(csr_array((3, 0), dtype=np.int32))
    assert vectors(space).shape == (1, 0)
    assert vectors_without(space, np.empty((2, 0)), np.array([-1, -1]), np.array([0, 0])).shape == (2, 0)


def test_a_playlist_without_known_entities_stands_at_the_origin():
    counts = random_counts(5)
    nothing = csr_array((1, counts.shape[1]), dtype=np.int32)
    assert not place_playlists(fit_space(counts), nothing).any()


def test_a_playlist_is_placed_the_same_in_any_batch():
    counts = random_counts(6)
    space = fit_space(counts)
    assert place_playlists(space, counts[7:9]).tobytes() == place_playlists(space, counts)[7:9].tobytes()


def test_a_bound_on_playlists_still_places_and_sums_all_of_them():
    counts = random_counts(7, n_playlists=400, density=0.1)
    bounded = fit_space(counts, n_dimensions=4, max_playlists=150)
    coordinates = place_playlists(bounded, counts)
    np.testing.assert_allclose(bounded.sums, np.log1p(counts.toarray()).T @ coordinates, rtol=1e-4, atol=1e-3)
    np.testing.assert_allclose((coordinates[::3] ** 2).mean(axis=0), 1, rtol=1e-2)
    assert bounded.projection.tobytes() != fit_space(counts, n_dimensions=4).projection.tobytes()
