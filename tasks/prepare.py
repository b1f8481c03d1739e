"""From two sorted extracts to batch files: integer positions and a fold per membership."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from tasks.batches import playlist_starts
from tasks.checkpoints import checkpointed
from tasks.ml.folds import HELD_OUT, TRAIN, assign_folds, hash_ids
from tasks.references import FileRef, Preparation
from tasks.storage import Storage, rechunk

CHUNK_ROWS = 1 << 20  # memberships in memory at a time
MIN_BATCH, MAX_BATCHES = 64, 1000

ROW_GROUP = 1 << 20
MEMBERSHIPS = pa.schema([("playlist", pa.int32()), ("track", pa.int32()), ("fold", pa.int8())])
TRACK_COUNTS = pa.schema([("inner", pa.int32()), ("outer", pa.int32()), ("all", pa.int32())])


@checkpointed(task_run_name="prepare batches")
def prepare_batches(*, storage: str, memberships: FileRef, tracks: FileRef, seed: int, batch_size: int) -> Preparation:
    """Number the tracks, assign folds, and write one file per batch of playlists.

    batch_size 0 chooses: at least 64 playlists, at most 1,000 batches. Memory holds one chunk of memberships and a few
    numbers per track, whatever the number of memberships.
    """
    store = Storage(storage)
    track_ids = store.read_table(tracks, columns=["track_id"])["track_id"].combine_chunks()
    track_hashes = hash_ids(track_ids.to_numpy(zero_copy_only=False))
    size = batch_size or max(MIN_BATCH, math.ceil(_count_playlists(store, memberships) / MAX_BATCHES))
    counts = np.zeros((HELD_OUT + 1, len(track_ids)), np.int32)
    batches, n_playlists = [], 0
    for batch in batches_of_playlists(_positions(store, memberships, track_ids), size):
        starts = playlist_starts(batch)
        folded = _add_folds(batch, starts, track_hashes, seed)
        batches.append(store.write_table("batches", folded))
        np.add.at(counts, (folded["fold"].to_numpy(), folded["track"].to_numpy()), 1)
        n_playlists += len(starts)
    return _describe(store, batches, counts, n_playlists)


def batches_of_playlists(tables: Iterable[pa.Table], size: int) -> Iterator[pa.Table]:
    """Cut a stream of rows, grouped by playlist_id, into tables of `size` whole playlists; the last may have fewer."""
    pending: pa.Table | None = None
    for table in tables:
        pending = table if pending is None else pa.concat_tables([pending, table])
        starts = playlist_starts(pending)
        n_whole = len(starts) - 1  # the last playlist may go on in the next table
        ends = starts[size : n_whole + 1 : size]
        yield from _slices(pending, ends)
        pending = pending.slice(ends[-1] if len(ends) else 0)
    if pending is not None and pending.num_rows:
        yield from _slices(pending, [*playlist_starts(pending)[size::size], pending.num_rows])


def _slices(table: pa.Table, ends: Iterable[int]) -> Iterator[pa.Table]:
    start = 0
    for end in ends:
        yield table.slice(start, end - start)
        start = end


def _positions(store: Storage, memberships: FileRef, track_ids: pa.Array) -> Iterator[pa.Table]:
    """Memberships with the row of their track; those whose track was not extracted are left out."""
    with store.open_parquet(memberships) as parquet:
        for rows in parquet.iter_batches(CHUNK_ROWS, use_threads=False):
            track = pc.index_in(rows["track_id"], value_set=track_ids)
            yield pa.table({"playlist_id": rows["playlist_id"], "track": track}).filter(pc.is_valid(track))


def _count_playlists(store: Storage, memberships: FileRef) -> int:
    n_playlists, last = 0, None
    with store.open_parquet(memberships) as parquet:
        for rows in parquet.iter_batches(CHUNK_ROWS, columns=["playlist_id"], use_threads=False):
            n_playlists += len(playlist_starts(pa.table(rows))) - (rows["playlist_id"][0].as_py() == last)
            last = rows["playlist_id"][-1].as_py()
    return n_playlists


def _add_folds(batch: pa.Table, starts: np.ndarray, track_hashes: np.ndarray, seed: int) -> pa.Table:
    sizes = np.diff([*starts, batch.num_rows])
    playlist = np.repeat(np.arange(len(starts)), sizes)
    playlist_hashes = hash_ids(batch["playlist_id"].take(pa.array(starts)).to_numpy(zero_copy_only=False))
    fold = assign_folds(playlist, playlist_hashes[playlist], track_hashes[batch["track"].to_numpy()], seed)
    return batch.append_column("fold", pa.array(fold, pa.int8()))


def _describe(store: Storage, batches: list[FileRef], counts: np.ndarray, n_playlists: int) -> Preparation:
    """counts: (fold, track) memberships. A track's inner count leaves both hold-outs out, its outer only the last."""
    n_inner, n_outer, n_all = counts[TRAIN], counts[:HELD_OUT].sum(axis=0), counts.sum(axis=0)
    tracks = pa.table({"inner": n_inner, "outer": n_outer, "all": n_all}, schema=TRACK_COUNTS)
    sizes, n_tracks = np.unique(n_all[n_all > 0], return_counts=True)
    return Preparation(
        batches=batches,
        memberships=store.write_row_groups(
            "folds", MEMBERSHIPS, rechunk(_numbered(store, batches), MEMBERSHIPS, ROW_GROUP)
        ),
        tracks=store.write_table("tracks", tracks),
        n_playlists=n_playlists,
        n_memberships=int(n_all.sum()),
        n_tracks=len(n_all),
        n_fit_tracks=int((n_outer > 0).sum()),
        histogram=list(zip(sizes.tolist(), n_tracks.tolist(), strict=True)),
    )


def _numbered(store: Storage, batches: list[FileRef]) -> Iterator[pa.Table]:
    """All batches, one after the other, with the number of the playlist among all for its id."""
    n_before = 0
    for file in batches:
        batch = store.read_table(file)
        starts = playlist_starts(batch)
        number = n_before + np.repeat(np.arange(len(starts)), np.diff([*starts, batch.num_rows]))
        n_before += len(starts)
        yield pa.table({"playlist": number.astype(np.int32), "track": batch["track"], "fold": batch["fold"]})
