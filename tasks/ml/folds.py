"""Which memberships train, tune and test, decided by hashes alone. Pure numerics: no Prefect, no Google, no I/O.

A membership's fold depends on the seed and on the ids in its own playlist, on nothing else: not on other playlists,
not on how many were sampled, not on row order. So samples can grow, batches can run anywhere, and no split moves.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd
from numpy.typing import NDArray

Ints = NDArray[np.integer]
Hashes = NDArray[np.uint64]

TRAIN, INNER, HELD_OUT = 0, 1, 2
FRACTION = 0.2  # of a playlist's tracks that are held out, and again of the rest for the inner fold

_HASH_KEY = "playlist-models."  # pandas asks for 16 bytes; a change moves every split
_GAMMA = 0x9E3779B97F4A7C15  # SplitMix64's increment, 2**64 / golden ratio


def hash_ids(ids: Sequence[str] | NDArray[np.object_] | pd.Series) -> Hashes:
    """SipHash-2-4 of each id's UTF-8 bytes under a fixed key, then SplitMix64's finaliser, (n,).

    The same for an id in every process, on every platform and beside any other ids. pandas computes both steps; a test
    holds them against the published algorithms, so that a release that changes one cannot go unnoticed. Raises
    ValueError if an id is not a string (a missing one included).
    """
    values = np.asarray(ids, dtype=object)
    if (kind := pd.api.types.infer_dtype(values, skipna=False)) not in ("string", "empty"):
        raise ValueError(f"ids must be strings, got {kind}")
    return pd.util.hash_array(values, hash_key=_HASH_KEY, categorize=False)


def tie_order(track_hash: Hashes) -> NDArray[np.int64]:
    """The rank of each track's hash among all, 0 to n - 1: unique integers that say nothing about position.

    track_hash: (n,). Equal hashes (one in 2**64 per pair of ids) are ranked by position.
    """
    ranks = np.empty(track_hash.size, dtype=np.int64)
    ranks[np.argsort(track_hash, kind="stable")] = np.arange(track_hash.size)
    return ranks


def assign_folds(playlist: Ints, playlist_hash: Hashes, track_hash: Hashes, seed: int) -> NDArray[np.int8]:
    """TRAIN, INNER or HELD_OUT for each of m memberships.

    playlist: (m,) code of the playlist, rows in any order. playlist_hash, track_hash: (m,) `hash_ids` of the two ids.
    Per playlist of n tracks the round(0.2 n) with the smallest hash(seed, playlist, track) are held out; of the n'
    others the round(0.2 n') with the smallest second hash are the inner fold. So one or two tracks hold nothing out.

    Raises ValueError if the lengths differ or a track is twice in a playlist.
    """
    if not playlist.shape == playlist_hash.shape == track_hash.shape:
        raise ValueError("playlist, playlist_hash and track_hash must have one entry per membership each")
    outer, inner = _streams(seed)
    folds = np.full(playlist.shape, TRAIN, dtype=np.int8)
    folds[_smallest(playlist, _combine(outer, playlist_hash, track_hash))] = HELD_OUT
    rest = np.flatnonzero(folds == TRAIN)
    folds[rest[_smallest(playlist[rest], _combine(inner, playlist_hash[rest], track_hash[rest]))]] = INNER
    return folds


def _smallest(playlist: Ints, key: Hashes) -> NDArray[np.int64]:
    """Positions of the round(0.2 n) smallest keys of each playlist (0.2 n is never halfway between integers)."""
    order = np.lexsort((key, playlist))
    grouped, keys = playlist[order], key[order]
    is_new = np.concatenate([np.ones(min(1, grouped.size), dtype=bool), grouped[1:] != grouped[:-1]])
    if np.any(~is_new[1:] & (keys[1:] == keys[:-1])):
        raise ValueError("a track is twice in a playlist")
    starts = np.flatnonzero(is_new)
    sizes = np.diff(starts, append=grouped.size)
    rank = np.arange(grouped.size) - np.repeat(starts, sizes)
    return order[rank < np.repeat(np.rint(FRACTION * sizes), sizes)]


def _streams(seed: int) -> Hashes:
    """The first two outputs of SplitMix64 started at seed (any integer, modulo 2**64): one per kind of fold."""
    return _mix(np.array([(seed + step * _GAMMA) % 2**64 for step in (1, 2)], dtype=np.uint64))


def _combine(stream: np.uint64, playlist_hash: Hashes, track_hash: Hashes) -> Hashes:
    return _mix(_mix(playlist_hash ^ stream) ^ track_hash)


def _mix(x: Hashes) -> Hashes:
    """SplitMix64's finaliser, a bijection of 64-bit words in which every input bit moves every output bit.

    Steele, Lea and Flood, "Fast splittable pseudorandom number generators", OOPSLA 2014, figure 16 (mix64variant13).
    """
    x = (x ^ (x >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    x = (x ^ (x >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return x ^ (x >> np.uint64(31))
