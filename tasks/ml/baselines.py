"""Scores of simple rules, on the same candidates as the models. Pure numerics: no Prefect, no Google, no I/O.

Every score is log1p of a count: the ranking is the count's, and thresholds fit the axis they share with logits.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

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


def _matches(train_tracks: Ints, codes: Ints) -> NDArray[np.int64]:
    """For every track the number of train tracks with its code, (n,)."""
    known = codes[train_tracks]
    known = known[known >= 0]
    n_codes = int(codes.max(initial=-1)) + 1
    per_code = np.bincount(known, minlength=n_codes + 1)  # the extra last entry is 0, and code -1 reads it
    return per_code[codes]
