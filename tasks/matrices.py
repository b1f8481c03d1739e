"""What all batches of a process share: matrices loaded once, whatever the number of threads. Nothing is written."""

from __future__ import annotations

import functools
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import threadpoolctl
from numpy.typing import NDArray

from tasks.batches import JUDGED, Fold
from tasks.ml.folds import hash_ids, tie_order
from tasks.references import FileRef, Reference
from tasks.storage import Storage

T = TypeVar("T")
N_KEPT = 2  # two folds at a time: the inner and the outer one, then the outer one and all
_lock = threading.RLock()


def once_per_process(load: Callable[..., T]) -> Callable[..., T]:
    """Keep the last few results of `load`; threads that ask for the same one at the same time wait for it.

    References are told apart by their content.
    """
    kept: OrderedDict[tuple[Any, ...], T] = OrderedDict()

    @functools.wraps(load)
    def locked(*args: Any) -> T:
        key = tuple(arg.model_dump_json() if isinstance(arg, Reference) else arg for arg in args)
        with _lock:
            if key not in kept:
                kept[key] = load(*args)
                if len(kept) > N_KEPT:
                    kept.popitem(last=False)
            kept.move_to_end(key)
            return kept[key]

    return locked


@functools.cache
def use_one_blas_thread() -> None:
    """Set BLAS to one thread, for good: tasks are the threads, and results must not depend on their number.

    Never as a context manager: two threads that restore the setting of each other race.
    """
    threadpoolctl.threadpool_limits(1)


@dataclass(frozen=True)
class Catalogue:
    """Per track: codes of artist and album (-1: unknown; an album is an artist's), and a rank that breaks ties.

    Codes follow the order of the names: those that only held-out memberships know move no other.
    """

    artist: NDArray[np.int32]
    album: NDArray[np.int32]
    tie_order: NDArray[np.int64]

    def codes(self, kind: str) -> NDArray[np.int32]:
        """The codes of "artist" or "album"."""
        return {"artist": self.artist, "album": self.album}[kind]


@once_per_process
def load_catalogue(storage: str, tracks: FileRef) -> Catalogue:
    """The names of the extracted tracks as codes."""
    columns = ["track_id", "artist_name", "album_name"]
    frame = Storage(storage).read_table(tracks, columns=columns).to_pandas()
    artist = pd.factorize(frame["artist_name"], sort=True)[0]
    album = frame.groupby(["artist_name", "album_name"], sort=True, dropna=True).ngroup().fillna(-1)
    order = tie_order(hash_ids(frame["track_id"].to_numpy(object)))
    return Catalogue(artist.astype(np.int32), album.to_numpy().astype(np.int32), order)


@once_per_process
def load_train(storage: str, memberships: FileRef, fold: Fold) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """(indptr, track) of the train part of a fold, for all playlists of the sample."""
    table = Storage(storage).read_table(memberships)
    playlist, track = table["playlist"].to_numpy(), table["track"].to_numpy()
    is_train = table["fold"].to_numpy() < JUDGED[fold]
    n_playlists = int(playlist.max(initial=-1)) + 1
    sizes = np.bincount(playlist[is_train], minlength=n_playlists)
    return np.concatenate([[0], np.cumsum(sizes)]), track[is_train]


@once_per_process
def load_matrix(storage: str, features: FileRef) -> NDArray[np.float32]:
    """A feature matrix, (tracks, columns) float32 in C order."""
    table = Storage(storage).read_table(features)
    X = np.empty((table.num_rows, table.num_columns), np.float32)
    for i, column in enumerate(table.columns):
        X[:, i] = column.to_numpy()
    return X


@once_per_process
def load_counts(storage: str, tracks: FileRef, fold: Fold) -> NDArray[np.int32]:
    """Memberships of each track in the train part of a fold."""
    return Storage(storage).read_table(tracks, columns=[fold])[fold].to_numpy()
