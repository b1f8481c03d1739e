"""The rows in which playlists differ from the matrix they share. Pure numerics: no Prefect, no Google, no I/O.

A train track's features leave its own membership out; and every track by the playlist's artists has affinity columns.
Playlist j of p has the train tracks tracks[indptr[j]:indptr[j + 1]], each once.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tasks.ml.affinity import affinity, n_related, related_tracks
from tasks.ml.embeddings import EntitySpace, place_playlists, vectors_without
from tasks.ml.entities import EntityIndex, count_entities, look_up, owners
from tasks.ml.rows import OwnRows

Ints = NDArray[np.integer]
Floats = NDArray[np.floating]
Bools = NDArray[np.bool_]

MAX_ROWS = 1 << 18  # own rows in memory at a time: 128 MB of float32 at 128 columns


@dataclass(frozen=True)
class EmbeddedColumns:
    """A block of columns of the shared matrix: the vectors of the tracks' artists, or of their albums.

    codes: (n,) entity of each track, -1 where unknown. columns: the place of the block in the matrix.
    """

    space: EntitySpace
    codes: Ints
    columns: slice


@dataclass(frozen=True)
class PlaylistColumns:
    """The columns that are a playlist's own.

    embedded: blocks of the shared matrix that a train track sees without its membership. related: one index per
    affinity column (artist, album), of the tracks that get own rows for it: the fit rows to train, all tracks to score.
    """

    embedded: tuple[EmbeddedColumns, ...] = ()
    related: tuple[EntityIndex, ...] = ()


def chunk_playlists(
    indptr: Ints, tracks: Ints, columns: PlaylistColumns, *, max_rows: int = MAX_ROWS
) -> Iterator[slice]:
    """Consecutive playlists that together have at most max_rows own rows, or one playlist that alone has more.

    The chunks depend on these playlists alone, never on the machine, so neither do the bytes of their models.
    """
    n_rows = np.diff(indptr) + sum(n_related(indptr, tracks, index) for index in columns.related)
    start, total = 0, 0
    for j, n in enumerate(n_rows.tolist()):
        if j > start and total + n > max_rows:
            yield slice(start, j)
            start, total = j, 0
        total += n
    if start < len(n_rows):
        yield slice(start, len(n_rows))


def build_own_rows(X: Floats, indptr: Ints, tracks: Ints, columns: PlaylistColumns) -> OwnRows:
    """Own rows of p playlists: their train tracks, and the tracks related to them; rows ascend within a playlist.

    X: (n, d) float32, the shared matrix. OwnRows.X is None without embedded blocks, and else X[rows] but for the train
    tracks' embedded blocks. OwnRows.extra has one column per index of related, and is None without one.
    """
    n = len(X)
    is_own = np.sort(owners(indptr) * n + tracks)
    related = [related_tracks(indptr, tracks, index) for index in columns.related]
    pairs = np.unique(np.concatenate([is_own, *(playlist * n + track for playlist, track in related)]))
    playlist, track = np.divmod(pairs, n)
    is_positive = np.isin(pairs, is_own, assume_unique=True)
    return OwnRows(
        indptr=np.searchsorted(playlist, np.arange(len(indptr))),
        rows=track,
        is_positive=is_positive,
        X=_leave_one_out(X, indptr, tracks, columns.embedded, playlist, track, is_positive),
        extra=_affinities(indptr, tracks, columns.related, playlist, track, is_positive),
    )


def score_differences(own: OwnRows, X: Floats, coef: Floats, extra_coef: Floats) -> NDArray[np.float64]:
    """What the own rows add to the shared scores X coef' + intercept of their playlists and rows, (m,).

    X: (n, d). coef: (p, d). extra_coef: (p, e). Candidates get their affinity, and the playlist's train tracks the
    score that they would have as candidates. Every other track's score is the shared one.
    """
    playlist = owners(own.indptr)
    added = np.zeros(len(own.rows))
    if own.extra is not None:
        added += np.einsum("me,me->m", own.extra.astype(np.float64), extra_coef[playlist])
    if own.X is not None:
        moved = np.flatnonzero(own.is_positive)  # the only rows whose shared columns differ
        change = own.X[moved].astype(np.float64) - X[own.rows[moved]]
        added[moved] += np.einsum("md,md->m", change, coef[playlist[moved]])
    return added


def _leave_one_out(
    X: Floats,
    indptr: Ints,
    tracks: Ints,
    embedded: tuple[EmbeddedColumns, ...],
    playlist: Ints,
    track: Ints,
    is_positive: Bools,
) -> NDArray[np.float32] | None:
    """X[track], but the embedded blocks of positives are those without the membership."""
    if not embedded:
        return None
    own = X[track]
    playlist, track = playlist[is_positive], track[is_positive]
    for block in embedded:
        counts = count_entities(indptr, tracks, block.codes)
        coordinates = place_playlists(block.space, counts)[playlist]
        entity = block.codes[track]
        count = look_up(counts, playlist, entity)
        own[is_positive, block.columns] = vectors_without(block.space, coordinates, entity, count)
    return own


def _affinities(
    indptr: Ints, tracks: Ints, related: tuple[EntityIndex, ...], playlist: Ints, track: Ints, is_positive: Bools
) -> NDArray[np.float32] | None:
    if not related:
        return None
    columns = [
        affinity(count_entities(indptr, tracks, index.codes), index.codes, playlist, track, is_positive)
        for index in related
    ]
    return np.column_stack(columns).astype(np.float32)
