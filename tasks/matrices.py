"""What all batches of a process share: matrices loaded once, whatever the number of threads. Nothing is written."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np
import pandas as pd
import threadpoolctl
from numpy.typing import NDArray

from tasks.ml.folds import hash_ids, tie_order
from tasks.ml.logistic import SharedRows
from tasks.ml.negatives import weigh_rows
from tasks.references import FileRef
from tasks.storage import Storage

T = TypeVar("T")
_lock = threading.RLock()


def once_per_process(load: Callable[..., T]) -> Callable[..., T]:
    """Keep the last few results of `load`; threads that ask for the same one at the same time wait for it."""
    cached = functools.lru_cache(maxsize=4)(load)

    @functools.wraps(load)
    def locked(*args: Any) -> T:
        with _lock:
            return cached(*args)

    return locked


@functools.cache
def use_one_blas_thread() -> None:
    """Set BLAS to one thread, for good: tasks are the threads, and results must not depend on their number.

    Never as a context manager: two threads that restore the setting of each other race.
    """
    threadpoolctl.threadpool_limits(1)


@dataclass(frozen=True)
class Catalogue:
    """Per track: codes of artist and album (-1: unknown; an album is an artist's), and a rank that breaks ties."""

    artist: NDArray[np.int32]
    album: NDArray[np.int32]
    tie_order: NDArray[np.int64]


@once_per_process
def load_catalogue(storage: str, tracks: FileRef) -> Catalogue:
    """The names of the extracted tracks as codes."""
    columns = ["track_id", "artist_name", "album_name"]
    frame = Storage(storage).read_table(tracks, columns=columns).to_pandas()
    artist = pd.factorize(frame["artist_name"])[0]
    album = frame.groupby(["artist_name", "album_name"], sort=False, dropna=True).ngroup().fillna(-1)
    order = tie_order(hash_ids(frame["track_id"].to_numpy(object)))
    return Catalogue(artist.astype(np.int32), album.to_numpy().astype(np.int32), order)


@once_per_process
def load_matrix(storage: str, features: FileRef) -> NDArray[np.float32]:
    """A feature matrix, (tracks, columns) float32 in C order."""
    table = Storage(storage).read_table(features)
    X = np.empty((table.num_rows, table.num_columns), np.float32)
    for i, column in enumerate(table.columns):
        X[:, i] = column.to_numpy()
    return X


@once_per_process
def load_counts(storage: str, tracks: FileRef, fold: str) -> NDArray[np.int32]:
    """Memberships of each track in the train part of a fold ("inner", "outer") or in all."""
    return Storage(storage).read_table(tracks, columns=[fold])[fold].to_numpy()


@once_per_process
def load_shared_rows(
    storage: str, features: FileRef, counts: FileRef, fold: str, n_negatives: int, seed: int
) -> SharedRows:
    """The rows that all models of a fold are fitted on, with their weights."""
    is_fit = load_counts(storage, counts, fold) > 0
    return SharedRows(load_matrix(storage, features), weigh_rows(is_fit, n_negatives=n_negatives, seed=seed))
