"""How many train tracks of a playlist share a track's artist or album. Pure numerics: no Prefect, no Google, no I/O.

These columns differ from playlist to playlist and are 0 for most tracks, so they exist only where they are not.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.integer]

PRIOR = (2.0, 1.0)  # a model leans to these coefficients of artist and album; few positives cannot tell them apart
PRIOR_STRENGTH = 1.0


@dataclass(frozen=True)
class EntityIndex:
    """The tracks of each entity: entity e has tracks[indptr[e]:indptr[e + 1]], ascending.

    codes: (n,) entity of each of n tracks, -1 where unknown; listed are only the tracks chosen for the index.
    """

    codes: Ints
    indptr: NDArray[np.int64]
    tracks: NDArray[np.int64]


def index_entities(codes: Ints, is_listed: NDArray[np.bool_]) -> EntityIndex:
    """Index the listed tracks whose entity is known."""
    listed = np.flatnonzero(is_listed & (codes >= 0))
    order = np.argsort(codes[listed], kind="stable")
    sizes = np.bincount(codes[listed], minlength=int(codes.max(initial=-1)) + 1)
    return EntityIndex(codes, np.concatenate([[0], np.cumsum(sizes)]), listed[order])


def count_related(indptr: Ints, tracks: Ints, index: EntityIndex) -> NDArray[np.int64]:
    """For each of p playlists an upper bound of the tracks in `related_tracks`, (p,), without listing them."""
    playlist, entity = _distinct(indptr, tracks, index.codes)
    return np.bincount(playlist, np.diff(index.indptr)[entity], len(indptr) - 1).astype(np.int64)


def related_tracks(indptr: Ints, tracks: Ints, index: EntityIndex) -> tuple[Ints, Ints]:
    """(playlist, track) of every listed track by an entity of the playlist, each pair once.

    Playlist j has the train tracks tracks[indptr[j]:indptr[j + 1]]; they are in the result if they are listed.
    """
    playlist, entity = _distinct(indptr, tracks, index.codes)
    sizes = np.diff(index.indptr)[entity]
    ends = np.cumsum(sizes)
    within = np.arange(sizes.sum()) - np.repeat(ends - sizes, sizes)
    return np.repeat(playlist, sizes), index.tracks[np.repeat(index.indptr[entity], sizes) + within]


def count_shared(
    indptr: Ints, tracks: Ints, codes: Ints, playlist: Ints, track: Ints, is_positive: NDArray[np.bool_]
) -> NDArray[np.int64]:
    """For each of m pairs the playlist's train tracks, the track itself left out, with the track's entity, (m,).

    is_positive: (m,) the track is one of the playlist's train tracks. An unknown entity (-1) shares with none.
    """
    n_codes = int(codes.max(initial=-1)) + 1
    pairs, n_tracks = np.unique(_pair(_owners(indptr), codes[tracks], n_codes), return_counts=True)
    wanted = _pair(playlist, codes[track], n_codes)
    place = np.minimum(np.searchsorted(pairs, wanted), max(len(pairs) - 1, 0))
    is_found = (pairs[place] == wanted) & (codes[track] >= 0) if len(pairs) else np.zeros(len(wanted), bool)
    return np.where(is_found, n_tracks[place] - is_positive, 0) if len(pairs) else np.zeros(len(wanted), np.int64)


def _owners(indptr: Ints) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))


def _pair(playlist: Ints, entity: Ints, n_codes: int) -> NDArray[np.int64]:
    """One integer per (playlist, entity), -1 included."""
    return playlist.astype(np.int64) * (n_codes + 1) + entity + 1


def _distinct(indptr: Ints, tracks: Ints, codes: Ints) -> tuple[Ints, Ints]:
    """(playlist, entity) of p playlists, each pair once, unknown entities left out."""
    n_codes = int(codes.max(initial=-1)) + 1
    pairs = np.unique(_pair(_owners(indptr), codes[tracks], n_codes))
    playlist, entity = np.divmod(pairs, n_codes + 1)
    return playlist[entity > 0], entity[entity > 0] - 1
