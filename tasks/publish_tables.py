"""Finished parts from the storage to their destination."""

from __future__ import annotations

from functools import partial

from prefect import task

from tasks.references import FileRef
from tasks.storage import Storage
from tasks.warehouse.destinations import open_destination
from tasks.warehouse.parts import Part


@task(task_run_name="publish tables", persist_result=False)
def publish_tables(storage: str, destination: str, playlists: list[FileRef], tracks: list[FileRef]) -> None:
    """Put all parts in the place of what the destination holds, equal parts once.

    Never cached, since nobody keeps the destination as it was; doing it again changes nothing. Raises InputError.
    """
    files = Storage(storage).files

    def parts(refs: list[FileRef]) -> list[Part]:
        return [Part(ref.sha256, ref.rows, partial(files.open, ref)) for ref in dict.fromkeys(refs)]

    open_destination(destination).replace({"playlists": parts(playlists), "tracks_headers": parts(tracks)})
