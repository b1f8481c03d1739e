"""From the warehouse to canonical Parquet: what is there, and the two extracts of one sample."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from prefect import get_run_logger, task

from tasks.checkpoints import checkpointed
from tasks.errors import InputError, SourceChangedError
from tasks.references import Census, Extract, Snapshot
from tasks.storage import Storage, rechunk
from tasks.warehouse.byte_sizes import format_bytes
from tasks.warehouse.contract import MEMBERSHIPS, TRACKS, dated
from tasks.warehouse.local import sort_rows
from tasks.warehouse.sources import Parameters, Warehouse, open_warehouse

ROW_GROUP = 1 << 18


@task(task_run_name="read snapshot", persist_result=False)
def read_snapshot(source: str) -> Snapshot:
    """What identifies the data that the source holds now. Never cached: it decides what else is.

    Raises InputError if the source does not keep the contract.
    """
    snapshot = Snapshot(tables=open_warehouse(source).snapshot())
    for table in snapshot.tables.keys() - dated(snapshot.tables).keys():
        get_run_logger().warning("Table %s is %s", table, snapshot.tables[table])
    return snapshot


@checkpointed(task_run_name="count playlists")
def count_playlists(*, storage: str, source: str, snapshot: Snapshot, maximum_bytes_billed: int) -> Census:
    """How many playlists, memberships and tracks the source holds.

    maximum_bytes_billed: what this query, as each of the extracts, may cost. Raises InputError if BigQuery says that it
    would cost more, and SourceChangedError, as the extracts do, if the source is no longer what the snapshot says:
    nothing may be kept under a snapshot that is not of it.
    """
    census = _census(open_warehouse(source, maximum_bytes_billed))
    _require(snapshot, source)
    return census


@checkpointed(task_run_name="extract memberships")
def extract_memberships(
    *,
    storage: str,
    source: str,
    snapshot: Snapshot,
    n_playlists: int,
    seed: int,
    min_tracks: int,
    maximum_bytes_billed: int,
) -> Extract:
    """Playlist and track ids of the sampled playlists: columns playlist_id, track_id, sorted, each pair once.

    Raises InputError if no playlist is eligible.
    """
    parameters: Parameters = {"n_playlists": n_playlists, "seed": str(seed), "min_tracks": min_tracks}
    warehouse = open_warehouse(source, maximum_bytes_billed)
    extract = _extract(storage, warehouse, ("sample", "memberships"), parameters, MEMBERSHIPS)
    _require(snapshot, source)
    if not extract.file.rows:
        found = _census(warehouse)
        raise InputError(
            f"no playlist of source {source!r} has {min_tracks} tracks with features (sample.min_tracks): it holds "
            f"{found.n_playlists:,} playlists with {found.n_memberships:,} rows, and tracks_headers "
            f"{found.n_tracks_with_features:,} tracks. Lower sample.min_tracks, or see whether track_uri and trackid "
            "name a track in the same way, and whether features are numbers: NULL, NaN and infinities do not count."
        )
    return extract


@checkpointed(task_run_name="extract tracks")
def extract_tracks(
    *,
    storage: str,
    source: str,
    snapshot: Snapshot,
    n_playlists: int,
    seed: int,
    min_tracks: int,
    catalogue: str,
    maximum_bytes_billed: int,
) -> Extract:
    """Names and features of the tracks that can be recommended, sorted by track_id, one row each."""
    parameters: Parameters = {
        "n_playlists": n_playlists,
        "seed": str(seed),
        "min_tracks": min_tracks,
        "whole_catalogue": catalogue == "all",
    }
    warehouse = open_warehouse(source, maximum_bytes_billed)
    extract = _extract(storage, warehouse, ("sample", "tracks"), parameters, TRACKS)
    _require(snapshot, source)
    return extract


def _require(snapshot: Snapshot, source: str) -> None:
    """A table that cannot tell whether it changed is taken as it is."""
    if dated(open_warehouse(source).snapshot()) != dated(snapshot.tables):
        raise SourceChangedError(f"source {source!r} changed while it was read: start again when nothing writes to it.")


def _census(warehouse: Warehouse) -> Census:
    size = _estimate(warehouse, ("census",), {})
    (row,) = (row for batch in warehouse.query("census", parameters={}) for row in batch.to_pylist())
    return Census.model_validate(row | {"bytes_processed": size})


def _estimate(warehouse: Warehouse, names: tuple[str, ...], parameters: Parameters) -> int | None:
    size = warehouse.estimate_bytes(*names, parameters=parameters)
    if size is not None:
        get_run_logger().info("The warehouse will process %s for %s", format_bytes(size), names[-1])
    return size


def _extract(
    storage: str, warehouse: Warehouse, names: tuple[str, ...], parameters: Parameters, schema: pa.Schema
) -> Extract:
    """Stream a query to the disk, sort it there, and write one canonical file.

    A warehouse returns rows in another order every time; sorted, two extracts of the same data are the same file.
    """
    size = _estimate(warehouse, names, parameters)
    with tempfile.TemporaryDirectory() as scratch:
        unsorted = Path(scratch, "unsorted.parquet")
        with pq.ParquetWriter(unsorted, schema) as writer:
            for batch in warehouse.query(*names, parameters=parameters):
                writer.write_batch(batch.cast(schema))
        ordered = (pa.Table.from_batches([batch]).cast(schema) for batch in sort_rows(unsorted, scratch))
        file = Storage(storage).write_row_groups(names[-1], schema, rechunk(ordered, schema, ROW_GROUP))
    return Extract(file=file, bytes_processed=size)
