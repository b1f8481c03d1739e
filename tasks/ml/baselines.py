"""Scores of simple rules, on the same candidates as the models. Pure numerics: no Prefect, no Google, no I/O.

Every score is log1p of a count, or of a sum of similarities: the ranking is the same, and thresholds fit the axis that
they share with logits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

Ints = NDArray[np.integer]


def popularity_scores(n_train: Ints) -> NDArray[np.float64]:
    """log1p of each track's number of train memberships.

    n_train: (n,) counts. Returns (n,), the same for every playlist.
    """
    return np.log1p(n_train, dtype=np.float64)


def same_artist_album_scores(train_tracks: Ints, artist: Ints, album: Ints) -> NDArray[np.float64]:
    """log1p(playlist's train tracks by the same artist + playlist's train tracks on the same album), per track.

    train_tracks: (m,) positions of the playlist's train tracks, unique. artist, album: (n,) codes from 0, -1 where
    unknown; an unknown matches nothing. An album's code stands for artist and album name together, so that two
    artists' "Greatest Hits" differ. A train track counts itself; candidates are never train tracks.

    Returns (n,), 0 for a playlist without train tracks. Raises ValueError if the two code vectors differ in shape.
    """
    if artist.shape != album.shape:
        raise ValueError(f"artist {artist.shape} and album {album.shape} must have one code per track each")
    return np.log1p(_matches(train_tracks, artist) + _matches(train_tracks, album), dtype=np.float64)


def item_profiles(indptr: Ints, train_tracks: Ints, n_tracks: int) -> csr_array:
    """Playlist x track matrix of train memberships, each track's column of unit length, (q, n_tracks) float64.

    Playlist j has the tracks train_tracks[indptr[j]:indptr[j + 1]], each once. A track of q playlists has q entries
    1 / sqrt(q); one of none has none. The dot product of two columns is the cosine of the two tracks.
    """
    n_playlists = np.bincount(train_tracks, minlength=n_tracks)
    weights = 1 / np.sqrt(n_playlists[train_tracks])
    return csr_array((weights, train_tracks, indptr), shape=(len(indptr) - 1, n_tracks))


def item_knn_scores(train_tracks: Ints, profiles: csr_array) -> NDArray[np.float64]:
    """log1p(sum over the playlist's train tracks of their cosine with a track), per track.

    The cosine of tracks i and j is (playlists with both) / sqrt(playlists with i x playlists with j), over train
    memberships: item-based top-N recommendation (Deshpande and Karypis 2004, equation 2) with all neighbours and a
    playlist's tracks counted once each. train_tracks: (m,) unique. profiles: (q, n) as `item_profiles` returns them.
    The tracks' similarities are never formed: two products with the memberships, O(memberships) per playlist.

    Returns (n,), 0 for a track without train memberships, and everywhere for a playlist without train tracks. A train
    track counts itself; candidates are never train tracks.
    """
    in_playlist = np.zeros(profiles.shape[1])
    in_playlist[train_tracks] = 1.0
    return np.log1p(profiles.T @ (profiles @ in_playlist))


def _matches(train_tracks: Ints, codes: Ints) -> NDArray[np.int64]:
    """For every track the number of train tracks with its code, (n,)."""
    known = codes[train_tracks]
    known = known[known >= 0]
    n_codes = int(codes.max(initial=-1)) + 1
    per_code = np.bincount(known, minlength=n_codes + 1)  # the extra last entry is 0, and code -1 reads it
    return per_code[codes]
