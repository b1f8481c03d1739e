"""Vectors of artists and albums from who shares playlists with whom. Pure numerics: no Prefect, no Google, no I/O.

A playlist's coordinates come from a truncated SVD of the playlist x entity matrix of train memberships (latent semantic
analysis, Deerwester et al. 1990); an entity's vector is the direction of the sum of its playlists' coordinates. A track
takes the vectors of its artist and of its album, so that tracks of no train playlist have some too.

For a track of the playlist's own train part the vectors are taken WITHOUT that membership (`vectors_without`): seen
with it, every positive looks like its playlist, which no held-out track does.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

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


def fit_space(counts: csr_array, *, n_dimensions: int = N_DIMENSIONS, max_playlists: int = 100_000) -> EntitySpace:
    """Learn the space from the train memberships alone.

    counts: (p, n) as `count_entities` returns it. Rows log1p(c) idf, each of unit length, are decomposed into U s V';
    playlist coordinates are U sqrt(p), of unit mean square per dimension. At most max_playlists rows, evenly spaced,
    enter the decomposition, which bounds its time and memory; all of them count in idf and in the sums.

    k is n_dimensions, or the rank of the matrix where that is less (few playlists or entities, or all alike), and 0
    without any membership. Entities without a train membership leave no trace: if codes follow an order of the names,
    such entities move no byte of the others. Deterministic for one thread of one BLAS.
    """
    n_playlists, n_entities = counts.shape
    n_with = np.bincount(counts.indices, minlength=n_entities)
    idf = np.log1p(np.divide(n_playlists, n_with, out=np.zeros(n_entities), where=n_with > 0))
    step = max(1, -(-n_playlists // max_playlists))
    seen = np.flatnonzero(n_with)
    loadings = _decompose(_unit_rows(counts[::step, seen], idf[seen]), n_dimensions)
    projection = np.zeros((n_entities, loadings.shape[1]), np.float32)
    projection[seen] = loadings * idf[seen, None]
    space = EntitySpace(idf, n_with == 1, projection, np.zeros_like(projection))
    sums = np.zeros(projection.shape)
    for start in range(0, n_playlists, _PLAYLISTS_AT_A_TIME):
        part = counts[start : start + _PLAYLISTS_AT_A_TIME]
        sums += _log1p(part).T @ place_playlists(space, part)
    return replace(space, sums=sums.astype(np.float32))


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
    """Vectors of m tracks' entities as they would be without the track's membership in one train playlist, (m, k).

    coordinates: (m, k) U of that playlist. entity: (m,) code of the track's entity, -1 gives 0. count: (m,) tracks of
    the entity in the playlist, this one included. From the entity's sum goes (log1p(c) - log1p(c - 1)) U, and nothing,
    exactly 0, is left if this was its only membership. The space itself, U included, is not fitted again.
    """
    left = np.zeros(coordinates.shape)
    known = np.flatnonzero(entity >= 0)
    known = known[~(space.is_alone[entity[known]] & (count[known] == 1))]
    step = np.log1p(count[known]) - np.log1p(count[known] - 1)
    left[known] = space.sums[entity[known]] - step[:, None] * coordinates[known]
    return _shrink(left).astype(np.float32)


def _decompose(rows: csr_array, n_dimensions: int) -> NDArray[np.float64]:
    """V / s sqrt(p), (n, k), by the randomised method of Halko, Martinsson and Tropp (2011).

    Signs are fixed: the largest entry of each column of U is positive.
    """
    if not rows.nnz:
        return np.zeros((rows.shape[1], 0))
    from sklearn.utils.extmath import randomized_svd  # a quarter of a command's start, and reused runs never need it

    _, s, vt = randomized_svd(
        rows,
        min(n_dimensions, *rows.shape),
        n_iter=_POWER_ITERATIONS,
        power_iteration_normalizer="QR",
        flip_sign=True,
        random_state=_SEED,
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


def _shrink(sums: NDArray[np.float64]) -> NDArray[np.float64]:
    norm = np.linalg.norm(sums, axis=1, keepdims=True)
    return SCALE * sums / (norm + SHRINKAGE * np.sqrt(sums.shape[1]))
