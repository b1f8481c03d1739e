"""Bring a person's own playlists and track features into a warehouse that train_playlists reads."""

from __future__ import annotations

import os
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.tasks import Task

from tasks.command_line import run_command
from tasks.lifecycle import execute_run
from tasks.load import load_playlists, load_tracks, match_tracks
from tasks.load_closing import close_load
from tasks.load_inputs import read_inputs
from tasks.load_references import InputFile, InputFiles, LoadedPart
from tasks.load_summary import summarize_table
from tasks.parameters import ColumnParameters, ComputeParameters, LoadingParameters
from tasks.publish_tables import publish_tables
from tasks.references import FileRef
from tasks.runs import Run, RunFailedError
from tasks.warehouse.contract import TABLES

NAMED = 5  # bad files in the sentence of a failed run; the summary names all


@flow(name="load-warehouse", flow_run_name="load {playlists} into {destination}")
def load_warehouse(
    *,
    playlists: str,
    tracks: str,
    destination: str,
    storage: str = "store",
    columns: ColumnParameters = ColumnParameters(),
    loading: LoadingParameters = LoadingParameters(),
    compute: ComputeParameters = ComputeParameters(),
    fresh: bool = False,
) -> str | State[Any]:
    """Load playlists and track features from files into a warehouse, and say what was left out.

    Every file becomes a part that is kept in the storage and checked before it is used again. The destination changes
    only when all of them are good: a folder as a whole, tables of BigQuery one right after the other.

    Args:
        playlists: Slices of the Million Playlist Dataset (mpd.slice.*.json), or CSV, TSV or Parquet with a row per
            track in a playlist: a folder, a file or a pattern.
        tracks: CSV, TSV or Parquet with a row of audio features per track: a folder, a file or a pattern.
        destination: Where the two tables are put: a folder, or bigquery://project/dataset?location=EU.
        storage: Where parts and checkpoints are kept: a folder, or gs://bucket/prefix.
        columns: What the columns of CSV and Parquet files are called.
        loading: What is tolerated of the files.
        compute: How much of the machine is used.
        fresh: Read everything again, whatever is in the storage.
    """
    given = {"playlists": playlists, "tracks": tracks, "destination": destination}
    return execute_run(
        lambda run: read_and_publish(run, playlists, tracks, destination, storage, columns, loading),
        storage=storage,
        parameters=given | {"columns": columns.model_dump(), "loading": loading.model_dump()},
        workers=compute.workers or os.cpu_count() or 1,
        fresh=fresh,
        close=close_load,
    )


def read_and_publish(
    run: Run,
    playlists: str,
    tracks: str,
    destination: str,
    storage: str,
    columns: ColumnParameters,
    loading: LoadingParameters,
) -> None:
    """Make a part of every file; if they are good, see whether their ids meet, and replace the destination."""
    inputs: InputFiles = run.one(read_inputs, playlists=playlists, tracks=tracks, destination=destination)
    run.progress.expect(len(inputs.playlists) + len(inputs.tracks) + 2)
    memberships = read_files(run, load_playlists, "playlists", inputs.playlists, storage, columns)
    headers = read_files(run, load_tracks, "tracks_headers", inputs.tracks, storage, columns)
    if None in memberships + headers:
        return  # the run names the tasks that failed
    require_readable(inputs.playlists + inputs.tracks, memberships + headers, loading.max_bad_files)
    good = {"playlists": files_of(memberships), "tracks": files_of(headers)}
    run.one(match_tracks, storage=storage, **good)
    run.one(publish_tables, storage=storage, destination=destination, **good)


def read_files(
    run: Run, task: Task[..., Any], table: str, files: list[InputFile], storage: str, columns: ColumnParameters
) -> list[LoadedPart | None]:
    """A part for each file of a table; they all have one form."""
    form = files[0].form
    named = {} if form == "slice" else columns.model_dump(include=set(TABLES[table]))
    return run.each(task, {"file": files}, storage=storage, form=form, columns=named)


def files_of(parts: list[LoadedPart | None]) -> list[FileRef]:
    """The files of the parts that have one."""
    return [part.file for part in parts if part and part.file]


def require_readable(files: list[InputFile], parts: list[LoadedPart | None], max_bad_files: int) -> None:
    """Raise RunFailedError, which names them, if more files than that cannot be read."""
    bad = summarize_table(files, parts).bad_files
    if len(bad) > max_bad_files:
        named = "; ".join(f"{path}: {fault}" for path, fault in list(bad.items())[:NAMED])
        more = f"; and {len(bad) - NAMED} more" if len(bad) > NAMED else ""
        raise RunFailedError(
            f"{len(bad)} of {len(files)} files cannot be read ({named}{more}): nothing was loaded. Replace or remove "
            f"them, or allow so many with --loading.max-bad-files {len(bad)}."
        )


if __name__ == "__main__":
    run_command(load_warehouse)
