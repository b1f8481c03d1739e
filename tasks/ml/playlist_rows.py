"""The rows in which playlists differ from the matrix they share. Pure numerics: no Prefect, no Google, no I/O.

A positive's features leave its own membership out; and every track by the playlist's artists has affinity columns.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.ml.affinity import EntityIndex, count_related, count_shared, related_tracks
from tasks.ml.embeddings import EntitySpace, count_entities, place_playlists, vectors_without
from tasks.ml.logistic import OwnRows

Ints = NDArray[np.integer]
Floats = NDArray[np.floating]

MAX_ROWS = 1 << 18  # own rows in memory at a time: 128 MB at 128 columns


@dataclass(frozen=True)
class EmbeddedEntity:
    """A block of columns of the shared matrix: the vectors of the tracks' entities.

    codes: (n,) entity of each track, -1 where unknown. columns: where in the matrix the block stands.
    """

    space: EntitySpace
    codes: Ints
    columns: slice


@dataclass(frozen=True)
class PlaylistColumns:
    """What makes own rows differ. embedded: blocks of the shared matrix to be rebuilt for positives.

    related: for each affinity column (artist, album) the tracks on which it may be other than 0.
    """

    embedded: tuple[EmbeddedEntity, ...] = ()
    related: tuple[EntityIndex, ...] = ()


def chunk_playlists(
    indptr: Ints, tracks: Ints, columns: PlaylistColumns, *, max_rows: int = MAX_ROWS
) -> Iterator[slice]:
    """Consecutive playlists whose own rows together are at most max_rows, or one playlist that has more.

    Depends on these playlists alone, never on the machine.
    """
    n_rows = np.diff(indptr) + sum(count_related(indptr, tracks, index) for index in columns.related)
    start, total = 0, 0
    for j, n in enumerate(n_rows.tolist()):
        if total + n > max_rows and j > start:
            yield slice(start, j)
            start, total = j, 0
        total += n
    if start < len(n_rows):
        yield slice(start, len(n_rows))


def build_own_rows(X: Floats, indptr: Ints, tracks: Ints, columns: PlaylistColumns) -> OwnRows:
    """Own rows of p playlists: their train tracks, and the tracks related to them.

    X: (n, d) the shared matrix. Playlist j has the train tracks tracks[indptr[j]:indptr[j + 1]], each once. Within a
    playlist rows ascend. extra has a column log1p(count) per index of `columns.related`; a positive does not count
    itself, and its embedded columns are those without its membership.
    """
    n = len(X)
    owner = np.repeat(np.arange(len(indptr) - 1), np.diff(indptr))
    positives = np.sort(owner * n + tracks)
    pairs = [positives]
    for index in columns.related:
        playlist, track = related_tracks(indptr, tracks, index)
        pairs.append(playlist * n + track)
    merged = np.unique(np.concatenate(pairs))
    playlist, track = np.divmod(merged, n)
    is_positive = np.isin(merged, positives, assume_unique=True)
    own_indptr = np.searchsorted(playlist, np.arange(len(indptr)))
    shape = {"playlist": playlist, "track": track, "is_positive": is_positive}
    extra = [np.log1p(count_shared(indptr, tracks, index.codes, **shape)) for index in columns.related]
    return OwnRows(
        indptr=own_indptr,
        rows=track,
        is_positive=is_positive,
        X=_own_X(X, indptr, tracks, columns.embedded, **shape) if columns.embedded else None,
        extra=np.column_stack(extra).astype(np.float32) if extra else None,
    )


def _own_X(
    X: Floats,
    indptr: Ints,
    tracks: Ints,
    embedded: tuple[EmbeddedEntity, ...],
    *,
    playlist: Ints,
    track: Ints,
    is_positive: NDArray[np.bool_],
) -> NDArray[np.float32]:
    own = X[track]
    playlist, track = playlist[is_positive], track[is_positive]
    for block in embedded:
        entity = block.codes[track]
        counts = count_entities(indptr, tracks, block.codes, len(block.space.idf))
        count = counts[playlist, np.maximum(entity, 0)]
        coordinates = place_playlists(block.space, counts)[playlist]
        own[is_positive, block.columns] = vectors_without(block.space, coordinates, entity, count)
    return own


def score_differences(own: OwnRows, X: Floats, coef: Floats, extra_coef: Floats) -> NDArray[np.float64]:
    """What to add to the shared scores X coef' of the own rows, (m,).

    coef: (p, d). extra_coef: (p, e). With own rows over all tracks this makes shared scores a playlist's own: affinity
    for candidates, and for its train tracks the score that they would have as candidates.
    """
    playlist = np.repeat(np.arange(len(own.indptr) - 1), np.diff(own.indptr))
    added = np.zeros(len(own.rows))
    if own.extra is not None:
        added += np.einsum("me,me->m", own.extra.astype(np.float64), extra_coef[playlist])
    if own.X is not None:
        chosen = np.flatnonzero(own.is_positive)  # only their shared columns differ
        moved = own.X[chosen].astype(np.float64) - X[own.rows[chosen]]
        added[chosen] += np.einsum("md,md->m", moved, coef[playlist[chosen]])
    return added
