"""How many train tracks of a playlist share a track's artist or album. Pure numerics: no Prefect, no Google, no I/O.

These columns differ from playlist to playlist and are 0 for most tracks, so they exist only where they are not. A
train track does not count itself: it would always find one, and a held-out track often none.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from tasks.ml.entities import EntityIndex, count_entities, look_up, owners

Ints = NDArray[np.integer]
Bools = NDArray[np.bool_]

PRIOR = (2.0, 1.0)  # of artist and album: few positives cannot tell their coefficients apart, so models lean to these
PRIOR_STRENGTH = 1.0


def n_related(indptr: Ints, tracks: Ints, index: EntityIndex) -> NDArray[np.int64]:
    """How many tracks `related_tracks` lists for each of p playlists, (p,), without listing them."""
    counts = count_entities(indptr, tracks, index.codes)
    listed_before = np.concatenate([[0], np.cumsum(np.diff(index.indptr)[counts.indices])])
    return np.diff(listed_before[counts.indptr])


def related_tracks(indptr: Ints, tracks: Ints, index: EntityIndex) -> tuple[Ints, Ints]:
    """(playlist, track) of every listed track by an entity of the playlist, each pair once.

    A playlist's train tracks are among them if they are listed and their entity is known.
    """
    counts = count_entities(indptr, tracks, index.codes)
    sizes = np.diff(index.indptr)[counts.indices]
    rank = np.arange(sizes.sum()) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    place = np.repeat(index.indptr[counts.indices], sizes) + rank
    return np.repeat(owners(counts.indptr), sizes), index.tracks[place]


def affinity(counts: csr_array, codes: Ints, playlist: Ints, track: Ints, is_positive: Bools) -> NDArray[np.float64]:
    """log1p(the playlist's train tracks, the track itself left out, with the track's entity) of m pairs, (m,).

    counts: `count_entities` of the train tracks by codes. is_positive: (m,), the track is one of the playlist's train
    tracks. An unknown entity gives 0.
    """
    entity = codes[track]
    return np.log1p(look_up(counts, playlist, entity) - (is_positive & (entity >= 0)))
