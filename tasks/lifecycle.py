"""A flow run from its first to its last moment: checks before it, manifest, report and history after it."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any, TypeVar

import httpx
from prefect import get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE, temporary_settings
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.urls import url_for

from tasks.artifacts import create_artifacts
from tasks.errors import InputError
from tasks.files import UnavailableError
from tasks.fingerprint import freeze_code
from tasks.history import wait_for_history
from tasks.manifest import Manifest, RunManifest, describe_results
from tasks.publish import publish_if_decided
from tasks.records import require_records, use_storage
from tasks.report import COLUMNS, comparison, render_report
from tasks.runs import Run, RunFailedError
from tasks.storage import Storage

AnyManifest = TypeVar("AnyManifest", bound=RunManifest)
Close = Callable[[Run, Storage, dict[str, Any]], RunManifest]


def execute_run(
    stages: Callable[[Run], None],
    *,
    storage: str,
    parameters: dict[str, Any],
    workers: int,
    fresh: bool,
    close: Close,
    **about: Any,
) -> str | State[Any]:
    """Execute the stages of the current flow run on a storage, and leave what `close` makes of them, failed or not.

    The first thing written is runs/<run>/started.json; the last the manifest beside it. (An interrupted run leaves no
    manifest: its checkpoints are all that the next one needs.) close: gets the run, its storage and the fields that
    all manifests share (`about` among them), and writes and returns the manifest. Returns where that is, or a Failed
    state whose message is one sentence. An unexpected error propagates after the manifest is written.
    """
    about |= {"parameters": parameters} | _identity(datetime.now(UTC))
    try:
        freeze_code()
        store = Storage(storage)
        store.files.probe()
        _announce(store, about)
    except InputError as error:
        return Failed(message=str(error))
    use_storage(storage)
    with ExitStack() as stack:
        if fresh:
            stack.enter_context(temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True}))
        run = Run(stack.enter_context(ThreadPoolTaskRunner(max_workers=workers)))
        try:
            stages(run)
            fault = _fault(run, storage)
        except (InputError, RunFailedError, UnavailableError) as error:
            fault = str(error)
        except Exception as error:
            close(run, store, about | _outcome(run, f"the run ended unexpectedly: {type(error).__name__}: {error}"))
            raise
        manifest = close(run, store, about | _outcome(run, fault))
    if manifest.message:
        return Failed(message=manifest.message)
    return f"{storage.rstrip('/')}/{manifest.folder}/manifest.json"


def _fault(run: Run, storage: str) -> str:
    """Why a run whose stages have all been tried is not good; "" if it is."""
    require_records(storage, run.checkpoint_keys(is_computed=True))
    failures = run.failures()
    if not failures:
        return ""
    name, error = next(iter(failures.items()))
    return (
        f"{len(failures)} task run(s) failed (the first is {name}: {error}); what is finished is kept: start the run "
        "again to execute only what failed and what needs it."
    )


def close_training(run: Run, store: Storage, about: dict[str, Any]) -> Manifest:
    """Leave report and manifest, publish, then leave artifacts and a whole history on the server, and say where."""
    manifest = Manifest(**about | describe_results(run.results, about))
    manifest = _write_with_report(manifest, store)
    manifest = publish_if_decided(manifest, store, lambda judged: _write_with_report(judged, store))
    complete_history(run, store, manifest, create_artifacts)
    if rows := comparison(manifest):
        heading = f"Means over playlists with held-out tracks (model: {manifest.recipe()})"
        run.progress.show_table(heading, list(COLUMNS), rows)
    if manifest.decision:
        run.progress.say(manifest.decision.sentence)
    if "the report cannot be written" not in manifest.message:
        run.progress.say(f"report: {store.uri.rstrip('/')}/{manifest.folder}/report.html")
    if url := url_for("flow-run", obj_id=manifest.run_id):
        run.progress.say(f"Prefect: {url}")
    return manifest


def _write_with_report(manifest: Manifest, store: Storage) -> Manifest:
    manifest = manifest.model_copy(update={"seconds": _seconds_since(manifest.started)})
    try:
        store.files.write(f"{manifest.folder}/report.html", render_report(manifest, store).encode())
    except OSError as error:
        manifest = _unwritten(manifest, "report", error)
    return write_manifest(manifest, store)


def finish_run(
    run: Run, store: Storage, manifest: AnyManifest, create_artifacts: Callable[[AnyManifest, Storage], None]
) -> AnyManifest:
    """Write the manifest, then leave artifacts and a whole history on Prefect's server, if it still answers."""
    manifest = write_manifest(manifest, store)
    complete_history(run, store, manifest, create_artifacts)
    return manifest


def complete_history(
    run: Run, store: Storage, manifest: AnyManifest, create_artifacts: Callable[[AnyManifest, Storage], None]
) -> None:
    """Leave artifacts on Prefect's server, and wait until it shows the end of every task run."""
    try:
        create_artifacts(manifest, store)
        run.progress.finish()
        if late := wait_for_history([future.task_run_id for future in run.futures]):
            get_run_logger().warning("Prefect's server has not recorded the end of %d task runs", late)
    except httpx.HTTPError as error:
        run.progress.say(
            f"Prefect's server does not answer ({type(error).__name__}): this run lacks its artifacts there."
        )
    except OSError as error:
        run.progress.say(f"this run lacks its artifacts in Prefect, which are made of its files: {error}")


def _identity(started: datetime) -> dict[str, Any]:
    run_id = str(runtime.flow_run.id)
    return {
        "flow": str(runtime.flow_run.flow_name),
        "run_id": run_id,
        "run_name": str(runtime.flow_run.name),
        "folder": f"runs/{started:%Y%m%dT%H%M%SZ}-{run_id[:8]}",
        "started": started,
    }


def _announce(store: Storage, about: dict[str, Any]) -> None:
    """Say that this run is under way, before it touches anything that prune-storage might delete."""
    content = json.dumps({name: str(about[name]) for name in ("flow", "run_id", "started")})
    try:
        store.files.write(f"{about['folder']}/started.json", content.encode())
    except OSError as error:
        raise InputError(f"storage {store.uri!r} cannot be written ({error.strerror or error}).") from error


def _outcome(run: Run, fault: str) -> dict[str, Any]:
    return {
        "status": "failed" if fault else "completed",
        "message": fault,
        "tasks": run.tasks,
        "records": sorted(set(run.checkpoint_keys())),
        "seconds": 0.0,  # until the manifest is written
    }


def write_manifest(manifest: AnyManifest, store: Storage) -> AnyManifest:
    """Write the manifest; if that fails, return one that says so."""
    manifest = manifest.model_copy(update={"seconds": _seconds_since(manifest.started)})
    try:
        store.files.write(f"{manifest.folder}/manifest.json", manifest.model_dump_json(indent=2).encode())
    except OSError as error:
        return _unwritten(manifest, "manifest", error)
    return manifest


def _unwritten(manifest: AnyManifest, what: str, error: OSError) -> AnyManifest:
    """The same run, failed because this cannot be written; a storage that does not answer is named once."""
    if not isinstance(error, UnavailableError):
        return manifest.failed(f"the {what} cannot be written ({error.strerror or error}): free some space.")
    return manifest if str(error) in manifest.message else manifest.failed(f"the {what} cannot be written: {error}")


def _seconds_since(moment: datetime) -> float:
    return round((datetime.now(UTC) - moment).total_seconds(), 3)
