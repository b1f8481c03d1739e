"""The bundled playlists as the solver meets them: fit rows, and the train memberships as own rows."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from tasks.ml.audio import audio_columns
from tasks.ml.entities import index_entities, owners
from tasks.ml.folds import HELD_OUT, assign_folds, hash_ids
from tasks.ml.playlist_rows import EmbeddedColumns, PlaylistColumns, build_own_rows
from tasks.ml.rows import OwnRows
from tasks.ml.track_columns import entity_columns
from tasks.warehouse.contract import FEATURES

SAMPLE = Path(__file__).parents[2] / "deployments" / "sample_warehouse"


@dataclass(frozen=True)
class Data:
    """The tracks with a train membership, all of them fit rows, and the memberships.

    tracks: n rows with audio features. codes: by kind, (n,) artist or album of each track. own: the train memberships.
    """

    tracks: pd.DataFrame
    codes: dict[str, np.ndarray]
    own: OwnRows


def load() -> Data:
    columns = ["unique_pid", "track_uri", "artist_name", "album_name"]
    members = pd.read_parquet(SAMPLE / "playlists.parquet", columns=columns)
    members = members.drop_duplicates(["unique_pid", "track_uri"])
    playlist = pd.factorize(members["unique_pid"], sort=True)[0]
    hashes = hash_ids(members["unique_pid"]), hash_ids(members["track_uri"])
    members = members[assign_folds(playlist, *hashes, seed=7) != HELD_OUT]
    names = members.drop_duplicates("track_uri").set_index("track_uri")
    tracks = pd.read_parquet(SAMPLE / "tracks_headers.parquet").set_index("trackid")
    tracks = tracks[tracks.index.isin(names.index)].join(names[["artist_name", "album_name"]]).sort_index()
    members = members[members["track_uri"].isin(tracks.index)]
    members = members.assign(row=tracks.index.get_indexer(members["track_uri"])).sort_values(["unique_pid", "row"])
    counts = members.groupby("unique_pid").size()
    own = OwnRows(np.append(0, np.cumsum(counts)), members["row"].to_numpy(), np.ones(len(members), dtype=bool))
    artist = pd.factorize(tracks["artist_name"], sort=True)[0]
    album = tracks.groupby(["artist_name", "album_name"]).ngroup().to_numpy()
    return Data(tracks, {"artist": artist, "album": album}, own)


def audio(data: Data, kind: str) -> np.ndarray:
    values = data.tracks[list(FEATURES)].to_numpy(dtype=float)
    return audio_columns(values, np.ones(len(values), dtype=bool), names=list(FEATURES), kind=kind).X


def full_columns(data: Data) -> tuple[np.ndarray, PlaylistColumns]:
    """The default recipe: the shared matrix, (n, d) float32, and the columns that differ from playlist to playlist."""
    indptr, rows = data.own.indptr, data.own.rows
    is_fit = np.ones(len(data.tracks), dtype=bool)
    blocks, embedded = [audio(data, "spline")], []
    for kind, codes in data.codes.items():
        made = entity_columns(indptr, rows, codes, is_fit, kind=kind)
        first = sum(block.shape[1] for block in blocks)
        embedded.append(EmbeddedColumns(made.space, codes, slice(first, first + made.space.sums.shape[1])))
        blocks.append(made.X)
    related = tuple(index_entities(codes, is_fit) for codes in data.codes.values())
    return np.hstack(blocks), PlaylistColumns(tuple(embedded), related)


def full_recipe(data: Data) -> tuple[np.ndarray, OwnRows]:
    """The default recipe's matrix and the own rows of all playlists: leave-one-out for positives, affinity columns."""
    X, columns = full_columns(data)
    return X, build_own_rows(X, data.own.indptr, data.own.rows, columns)


def part(own: OwnRows, first: int, last: int) -> OwnRows:
    """Playlists first to last."""
    lo, hi = own.indptr[first], own.indptr[last]
    X, extra = (None if values is None else values[lo:hi] for values in (own.X, own.extra))
    return OwnRows(own.indptr[first : last + 1] - lo, own.rows[lo:hi], own.is_positive[lo:hi], X, extra)


def at_most(own: OwnRows, most: int) -> OwnRows:
    """All positives, and of the other own rows the first ones up to `most` rows a playlist."""
    playlist = owners(own.indptr)
    order = np.lexsort((~own.is_positive, playlist))
    kept = np.sort(order[(np.arange(len(order)) - own.indptr[playlist] < most) | own.is_positive[order]])
    indptr = np.searchsorted(playlist[kept], np.arange(len(own.indptr)))
    return OwnRows(indptr, own.rows[kept], own.is_positive[kept], own.X[kept], own.extra[kept])
