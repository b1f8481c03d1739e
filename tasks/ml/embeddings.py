"""Vectors of artists and albums from who shares playlists with whom. Pure numerics: no Prefect, no Google, no I/O.

A playlist's coordinates come from a truncated SVD of the playlist x entity matrix of train memberships (latent semantic
analysis, Deerwester et al. 1990); an entity's vector is the direction of the sum of its playlists' coordinates. A track
takes the vectors of its artist and of its album, so that tracks of no train playlist have some too.

For a track of the playlist's own train part the vectors are taken WITHOUT that membership (`vectors_without`): seen
with it, every positive looks like its playlist, which no held-out track does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array
from sklearn.utils.extmath import randomized_svd

Ints = NDArray[np.integer]
Floats = NDArray[np.floating]

N_DIMENSIONS = 32
SCALE = 5.0  # columns of about unit variance, as the others; the penalty is the same for all
SHRINKAGE = 0.3  # in units of a typical playlist's length, sqrt(k): how far few memberships pull a vector from 0

_SEED = 0
_POWER_ITERATIONS = 7
_SMALLEST_SINGULAR_VALUE = 1e-6  # of the largest; below it a direction is rounding noise
_PLAYLISTS_AT_A_TIME = 1 << 16


@dataclass(frozen=True)
class EntitySpace:
    """What is needed to place playlists and entities, k <= N_DIMENSIONS.

    idf: (n,) float64, log(1 + playlists / playlists with the entity), 0 for an entity in no train playlist.
    is_alone: (n,) bool, the entity is in one train playlist only.
    projection, sums: (n, k) float32. A playlist's coordinates are U_p = sum_e log1p(c_pe) projection_e / norm_p; an
    entity's sum over the train playlists is S_e = sum_p log1p(c_pe) U_p.
    """

    idf: Floats
    is_alone: NDArray[np.bool_]
    projection: Floats
    sums: Floats


def count_entities(indptr: Ints, tracks: Ints, codes: Ints, n_entities: int) -> csr_array:
    """How many of each playlist's tracks belong to each entity, (p, n_entities) int32.

    Playlist j has the tracks tracks[indptr[j]:indptr[j + 1]]. codes: (number of tracks,) entity of each track; -1,
    unknown, is left out.
    """
    entity = codes[tracks]
    is_known = entity >= 0
    known_before = np.concatenate([[0], np.cumsum(is_known)])
    ones = np.ones(int(known_before[-1]), np.int32)
    counts = csr_array((ones, entity[is_known], known_before[indptr]), shape=(len(indptr) - 1, n_entities))
    counts.sum_duplicates()
    return counts


def fit_space(
    counts: csr_array, *, n_dimensions: int = N_DIMENSIONS, max_playlists: int = 200_000, seed: int = _SEED
) -> EntitySpace:
    """Learn the space from the train memberships alone.

    counts: (p, n) as `count_entities` returns it. Rows log1p(c) idf, each of unit length, are decomposed; then
    U = rows V / s sqrt(number of rows), which has unit mean square per dimension. Signs make the largest loading of
    each left vector positive. The SVD sees at most max_playlists of them, evenly spaced, which bounds time and memory;
    all of them count in idf and in the sums.

    k is n_dimensions, or the rank of the matrix where that is smaller (few playlists, few entities); 0 if counts has
    no entry.
    """
    n_playlists, n_entities = counts.shape
    n_with = np.bincount(counts.indices, minlength=n_entities)
    idf = np.log1p(np.divide(n_playlists, n_with, out=np.zeros(n_entities), where=n_with > 0))
    step = max(1, -(-n_playlists // max_playlists))
    projection = _decompose(_unit_rows(counts[::step], idf), n_dimensions, seed) * idf[:, None]
    space = EntitySpace(idf, n_with == 1, projection.astype(np.float32), np.empty(0, np.float32))
    sums = np.zeros(projection.shape)
    for part in _slices(counts):
        sums += _log1p(part).T @ place_playlists(space, part)
    return EntitySpace(space.idf, space.is_alone, space.projection, sums.astype(np.float32))


def place_playlists(space: EntitySpace, counts: csr_array) -> NDArray[np.float64]:
    """Coordinates U of p playlists, (p, k); 0 for one without a known entity.

    counts: (p, n). A playlist's coordinates depend on its own counts and the space only, so batches need not know of
    each other.
    """
    norm = np.sqrt((_log1p(counts) * space.idf).power(2).sum(axis=1))
    coordinates = _log1p(counts) @ space.projection.astype(np.float64)
    return np.divide(coordinates, norm[:, None], out=np.zeros_like(coordinates), where=norm[:, None] > 0)


def vectors(space: EntitySpace) -> NDArray[np.float32]:
    """Vectors of all entities and, last, of the unknown one (code -1 reads it), (n + 1, k).

    SCALE S_e / (|S_e| + SHRINKAGE sqrt(k)); 0 for an entity in no train playlist and for the unknown one.
    """
    unknown = np.zeros((1, space.sums.shape[1]), np.float32)
    return np.concatenate([_shrink(space.sums.astype(np.float64)).astype(np.float32), unknown])


def vectors_without(space: EntitySpace, coordinates: Floats, entity: Ints, count: Ints) -> NDArray[np.float32]:
    """Vectors of m tracks' entities as they are without the track's membership in one train playlist, (m, k).

    coordinates: (m, k) U of that playlist. entity: (m,) code of the track's entity, -1 gives 0. count: (m,) tracks of
    the entity in the playlist, this one included. From the entity's sum goes (log1p(c) - log1p(c - 1)) U, and nothing,
    exactly 0, is left if this was its only membership. The space itself, U included, is not fitted again.
    """
    step = np.log1p(count) - np.log1p(np.maximum(count - 1, 0))
    left = space.sums[entity].astype(np.float64) - step[:, None] * coordinates
    left[(entity < 0) | (space.is_alone[entity] & (count == 1))] = 0.0
    return _shrink(left).astype(np.float32)


def _decompose(rows: csr_array, n_dimensions: int, seed: int) -> NDArray[np.float64]:
    """V / s sqrt(p), (n, k)."""
    if not rows.nnz:
        return np.zeros((rows.shape[1], 0))
    k = min(n_dimensions, *rows.shape)
    _, s, vt = randomized_svd(
        rows, k, n_iter=_POWER_ITERATIONS, power_iteration_normalizer="QR", flip_sign=True, random_state=seed
    )
    is_kept = s > _SMALLEST_SINGULAR_VALUE * s[0]
    return (vt[is_kept] / s[is_kept, None]).T * np.sqrt(rows.shape[0])


def _unit_rows(counts: csr_array, idf: Floats) -> csr_array:
    weighted = csr_array(_log1p(counts) * idf)
    norm = np.sqrt(weighted.power(2).sum(axis=1))
    weighted.data /= np.repeat(norm, np.diff(weighted.indptr))
    return weighted


def _log1p(counts: csr_array) -> csr_array:
    return csr_array((np.log1p(counts.data), counts.indices, counts.indptr), shape=counts.shape)


def _slices(counts: csr_array) -> Iterator[csr_array]:
    for start in range(0, counts.shape[0], _PLAYLISTS_AT_A_TIME):
        yield counts[start : start + _PLAYLISTS_AT_A_TIME]


def _shrink(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    """SCALE times sums of length below 1; k = 0 has no rows to divide."""
    norm = np.linalg.norm(sums, axis=1, keepdims=True)
    return SCALE * sums / (norm + SHRINKAGE * np.sqrt(sums.shape[1]))
