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
    tables = {"playlists": parts_of(storage, playlists), "tracks_headers": parts_of(storage, tracks)}
    open_destination(destination).replace(tables)


def parts_of(storage: str, files: list[FileRef]) -> list[Part]:
    """Files of a storage as a warehouse takes them, equal ones once."""
    store = Storage(storage)
    return [Part(file.sha256, file.rows, partial(store.files.open, file)) for file in dict.fromkeys(files)]
