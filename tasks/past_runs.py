"""Runs that have ended: found by a name that a person gives, and read as data."""

from __future__ import annotations

import re
from collections.abc import Iterator

from tasks.champion import read_champion
from tasks.errors import InputError
from tasks.files import DamagedFileError
from tasks.manifest import Manifest, RunManifest, read_manifest
from tasks.references import Reference, Served, files_in
from tasks.storage import Storage

RUN_NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{8}")
RUN_ID = re.compile(r"([0-9a-f]{8})(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[0-9a-f]{8}")
TRAINING = "train-playlists"


def list_runs(store: Storage) -> list[str]:
    """The folders of all runs that have a manifest, relative to the storage root, the oldest first."""
    paths = (file.path for file in store.files.list("runs") if file.path.endswith("/manifest.json"))
    return sorted(path.removesuffix("/manifest.json") for path in paths if RUN_NAME.fullmatch(path.split("/")[1]))


def require_runs(storage: str) -> None:
    """Raise InputError if no run has left anything in a storage: its name is wrong, more likely than not."""
    try:
        if next(iter(Storage(storage).files.list("runs")), None) is None:
            raise InputError(f"storage {storage!r} has no runs: correct its name.")
    except OSError as error:
        raise InputError(f"storage {storage!r} cannot be read ({error.strerror or error}).") from error


class ModelRun(Reference):
    """A completed run that trained models. folder: its own, relative to the storage root. served: what it left."""

    folder: str
    run_id: str
    served: Served


def find_models(store: Storage, name: str) -> ModelRun:
    """The run of that name: the "champion", the "latest" completed one, or one by its folder or id.

    Raises InputError if there is no such run, its manifest cannot be read, or it did not complete with models.
    """
    folder = _latest(store) if name == "latest" else _folder(store, name)
    run = read_manifest(store, folder, RunManifest)
    if run.flow != TRAINING:
        raise InputError(f"{folder} is a run of {run.flow}, which leaves no models: name a run of {TRAINING}.")
    if run.status != "completed":
        raise InputError(f"{folder} failed, and models of a failed run are not used: name another run. ({run.message})")
    served = read_manifest(store, folder, Manifest).served
    if served is None:
        raise InputError(f"{folder} left no models: name another run.")
    return ModelRun(folder=folder, run_id=run.run_id, served=served)


def verify_served(store: Storage, folder: str, served: Served) -> None:
    """Raise InputError unless every file that recommendations are computed from is intact."""
    try:
        store.verify(*files_in(served))
    except DamagedFileError as error:
        raise InputError(
            f"the models of {folder} cannot be used ({error}): start {TRAINING} again with that run's parameters, "
            "which makes what is missing again."
        ) from error


def _latest(store: Storage) -> str:
    for folder in reversed(list_runs(store)):
        run = read_manifest(store, folder, RunManifest)
        if run.flow == TRAINING and run.status == "completed":
            return folder
    raise InputError(f"storage {store.uri!r} has no completed run of {TRAINING}: start one.")


def _folder(store: Storage, name: str) -> str:
    if name == "champion":
        champion = read_champion(store)
        if champion is None:
            raise InputError(f'storage {store.uri!r} has no champion: publish a run, or name one, such as "latest".')
        return champion.current.run
    if folder := RUN_NAME.search(name):  # wherever it stands: people paste the path of a manifest or a report
        return f"runs/{folder.group()}"
    folders = list(_with_id(store, name))
    if len(folders) != 1:
        known = ", ".join(list_runs(store)[-3:]) or "none"
        raise InputError(
            f'no run is called {name!r}: give "champion", "latest", or the folder or id of a run '
            f"(the last ones in storage {store.uri!r}: {known})."
        )
    return folders[0]


def _with_id(store: Storage, name: str) -> Iterator[str]:
    if RUN_ID.fullmatch(name):
        for folder in list_runs(store):
            if folder.endswith(f"-{name[:8]}") and read_manifest(store, folder, RunManifest).run_id.startswith(name):
                yield folder
