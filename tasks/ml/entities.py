"""Which artists and albums a playlist's tracks belong to. Pure numerics: no Prefect, no Google, no I/O.

An entity is an artist, or an album (artist and album name together). A track has one code per kind, -1 where unknown.
Playlist j of p has the train tracks tracks[indptr[j]:indptr[j + 1]], each once.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Ints = NDArray[np.integer]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class EntityIndex:
    """The listed tracks of each entity: entity e has tracks[indptr[e]:indptr[e + 1]], ascending.

    codes: (number of tracks,) entity of every track, listed or not.
    """

    codes: Ints
    indptr: NDArray[np.int64]
    tracks: NDArray[np.int64]


def owners(indptr: Ints) -> NDArray[np.int64]:
    """The group of each entry: 0 for the first indptr[1], then 1, and so on."""
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def count_entities(indptr: Ints, tracks: Ints, codes: Ints) -> csr_array:
    """How many of each playlist's tracks belong to each entity, (p, largest code + 1) int32, sorted indices.

    Unknown entities are left out.
    """
    entity = codes[tracks]
    is_known = entity >= 0
    known_before = np.concatenate([[0], np.cumsum(is_known)])
    ones = np.ones(int(known_before[-1]), np.int32)
    shape = (len(indptr) - 1, int(codes.max(initial=-1)) + 1)
    counts = csr_array((ones, entity[is_known], known_before[indptr]), shape=shape)
    counts.sum_duplicates()
    return counts


def look_up(counts: csr_array, playlist: Ints, entity: Ints) -> NDArray[np.int64]:
    """The counts of m pairs (playlist, entity), (m,); 0 for an unknown entity.

    counts: as `count_entities` returns them.
    """
    n_entities = counts.shape[1]
    stored = np.append(owners(counts.indptr) * n_entities + counts.indices, -1)  # the last stands for "not found"
    wanted = playlist.astype(np.int64) * n_entities + entity
    place = np.searchsorted(stored[:-1], wanted)
    is_found = (stored[place] == wanted) & (entity >= 0)
    return np.where(is_found, np.append(counts.data, 0)[place], 0).astype(np.int64)


def index_entities(codes: Ints, is_listed: Bools) -> EntityIndex:
    """Index the listed tracks by entity; tracks of unknown entities are in no list."""
    listed = np.flatnonzero(is_listed & (codes >= 0))
    order = np.argsort(codes[listed], kind="stable")
    sizes = np.bincount(codes[listed], minlength=int(codes.max(initial=-1)) + 1)
    return EntityIndex(codes, np.concatenate([[0], np.cumsum(sizes)]), listed[order])
