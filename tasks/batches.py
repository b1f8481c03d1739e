"""A batch of playlists as arrays, and the folds as the stages see them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from tasks.ml.folds import HELD_OUT, INNER
from tasks.references import FileRef
from tasks.storage import Storage

Fold = Literal["inner", "outer", "all"]

# Train is what lies below; the fold itself is what the models of that stage are judged on ("all": on nothing).
JUDGED: dict[str, int] = {"inner": INNER, "outer": HELD_OUT, "all": HELD_OUT + 1}


@dataclass(frozen=True)
class Batch:
    """p playlists, grouped: playlist_ids (p,); playlist j has the tracks track[indptr[j]:indptr[j + 1]].

    track: (m,) int64 row of the tracks file. fold: (m,) int8.
    """

    playlist_ids: list[str]
    indptr: NDArray[np.int64]
    track: NDArray[np.int64]
    fold: NDArray[np.int8]

    def train(self, fold: Fold) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """(indptr, track) of the train memberships of a fold."""
        is_train = self.fold < JUDGED[fold]
        return np.concatenate([[0], np.cumsum(is_train)])[self.indptr], self.track[is_train]

    def take(self, chosen: NDArray[np.int64]) -> Batch:
        """The playlists at these positions, ascending."""
        sizes = np.diff(self.indptr)
        is_chosen = np.isin(np.arange(len(sizes)), chosen)
        entries = np.repeat(is_chosen, sizes)
        return Batch(
            playlist_ids=[self.playlist_ids[j] for j in np.flatnonzero(is_chosen)],
            indptr=np.concatenate([[0], np.cumsum(sizes[is_chosen])]),
            track=self.track[entries],
            fold=self.fold[entries],
        )

    def masks(self, j: int, fold: Fold, n_tracks: int) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """(is_train, is_judged) of playlist j over all tracks, (n_tracks,) each."""
        entries = slice(self.indptr[j], self.indptr[j + 1])
        is_train, is_judged = np.zeros(n_tracks, bool), np.zeros(n_tracks, bool)
        is_train[self.track[entries][self.fold[entries] < JUDGED[fold]]] = True
        is_judged[self.track[entries][self.fold[entries] == JUDGED[fold]]] = True
        return is_train, is_judged


def load_batch(storage: str, batch: FileRef) -> Batch:
    """Read one batch file of the preparation."""
    table = Storage(storage).read_table(batch)
    starts = playlist_starts(table)
    return Batch(
        playlist_ids=table["playlist_id"].take(starts).to_pylist(),
        indptr=np.concatenate([starts, [table.num_rows]]),
        track=table["track"].to_numpy().astype(np.int64),
        fold=table["fold"].to_numpy(),
    )


def playlist_starts(table: pa.Table) -> np.ndarray:
    """The first row of each playlist in a table whose rows are grouped by playlist_id; () for no rows."""
    ids = table["playlist_id"].combine_chunks()
    if not len(ids):
        return np.empty(0, np.int64)
    is_new = pc.not_equal(ids.slice(1), ids.slice(0, len(ids) - 1)).to_numpy(zero_copy_only=False)
    return np.concatenate([[0], np.flatnonzero(is_new) + 1])
