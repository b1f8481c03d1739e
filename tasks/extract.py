"""From the warehouse to canonical Parquet: what is there, and the two extracts of one sample."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import task

from tasks.checkpoints import checkpointed
from tasks.errors import InputError, SourceChangedError
from tasks.references import Census, FileRef, Snapshot
from tasks.storage import Storage, rechunk
from tasks.warehouse.contract import MEMBERSHIPS, TRACKS
from tasks.warehouse.local import sort_rows
from tasks.warehouse.sources import Parameters, open_warehouse

ROW_GROUP = 1 << 18


@task(task_run_name="read snapshot", persist_result=False)
def read_snapshot(source: str) -> Snapshot:
    """What identifies the data that the source holds now. Never cached: it decides what else is.

    Raises InputError if the source does not keep the contract.
    """
    return Snapshot(tables=open_warehouse(source).snapshot())


@checkpointed(task_run_name="count playlists")
def count_playlists(*, storage: str, source: str, snapshot: Snapshot) -> Census:
    """How many playlists, memberships and tracks the source holds.

    Raises SourceChangedError, as the extracts do, if the source is no longer what the snapshot says: nothing may be
    kept under a snapshot that is not of it.
    """
    census = _census(source)
    _require(snapshot, source)
    return census


@checkpointed(task_run_name="extract memberships")
def extract_memberships(
    *, storage: str, source: str, snapshot: Snapshot, n_playlists: int, seed: int, min_tracks: int
) -> FileRef:
    """Playlist and track ids of the sampled playlists: columns playlist_id, track_id, sorted, each pair once.

    Raises InputError if no playlist is eligible.
    """
    parameters: Parameters = {"n_playlists": n_playlists, "seed": str(seed), "min_tracks": min_tracks}
    file = _extract(storage, source, ("sample", "memberships"), parameters, MEMBERSHIPS)
    _require(snapshot, source)
    if not file.rows:
        found = _census(source)
        raise InputError(
            f"no playlist of source {source!r} has {min_tracks} tracks with features (sample.min_tracks): it holds "
            f"{found.n_playlists:,} playlists with {found.n_memberships:,} rows, and features of "
            f"{found.n_tracks_with_features:,} tracks. Lower sample.min_tracks, or see "
            "whether track_uri and trackid name a track in the same way."
        )
    return file


@checkpointed(task_run_name="extract tracks")
def extract_tracks(
    *, storage: str, source: str, snapshot: Snapshot, n_playlists: int, seed: int, min_tracks: int, catalogue: str
) -> FileRef:
    """Names and features of the tracks that can be recommended, sorted by track_id, one row each."""
    parameters: Parameters = {
        "n_playlists": n_playlists,
        "seed": str(seed),
        "min_tracks": min_tracks,
        "whole_catalogue": catalogue == "all",
    }
    file = _extract(storage, source, ("sample", "tracks"), parameters, TRACKS)
    _require(snapshot, source)
    return file


def _require(snapshot: Snapshot, source: str) -> None:
    if open_warehouse(source).snapshot() != snapshot.tables:
        raise SourceChangedError(f"source {source!r} changed while it was read: start again when nothing writes to it.")


def _census(source: str) -> Census:
    batches = open_warehouse(source).query("census", parameters={})
    (row,) = (row for batch in batches for row in batch.to_pylist())
    return Census.model_validate(row)


def _extract(storage: str, source: str, names: tuple[str, ...], parameters: Parameters, schema: pa.Schema) -> FileRef:
    """Stream a query to the disk, sort it there, and write one canonical file.

    A warehouse returns rows in another order every time; sorted, two extracts of the same data are the same file.
    """
    with tempfile.TemporaryDirectory() as scratch:
        unsorted = Path(scratch, "unsorted.parquet")
        with pq.ParquetWriter(unsorted, schema) as writer:
            for batch in open_warehouse(source).query(*names, parameters=parameters):
                writer.write_batch(batch.cast(schema))
        ordered = (pa.Table.from_batches([batch]).cast(schema) for batch in sort_rows(unsorted, scratch))
        return Storage(storage).write_row_groups(names[-1], schema, rechunk(ordered, schema, ROW_GROUP))
