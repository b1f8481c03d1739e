"""A flow run from its first to its last moment: checks before it, manifest, report and history after it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

import httpx
from prefect import get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE, temporary_settings
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.urls import url_for

from tasks.artifacts import create_artifacts
from tasks.errors import InputError
from tasks.fingerprint import freeze_code
from tasks.history import wait_for_history
from tasks.manifest import Manifest, describe_results
from tasks.records import require_records, use_storage
from tasks.report import COLUMNS, comparison, render_report
from tasks.runs import Run, RunFailedError
from tasks.storage import Storage

Close = Callable[[Run, Storage, str, dict[str, Any]], Manifest]


def execute_run(
    stages: Callable[[Run], None],
    *,
    source: str,
    storage: str,
    parameters: dict[str, Any],
    workers: int,
    fresh: bool,
    close: Close | None = None,
) -> str | State[Any]:
    """Execute the stages of the current flow run on a storage, and leave a manifest, failed or not.

    close: leaves what this flow leaves in the end; by default a training's report, artifacts and table. (An interrupted
    run leaves nothing: its checkpoints are all that the next one needs.) Returns where the manifest is, or a Failed
    state whose message is one sentence. An unexpected error propagates after the manifest is written.
    """
    about = {"source": source, "parameters": parameters, "started": datetime.now(UTC)}
    try:
        freeze_code()
        store = Storage(storage)
        store.files.probe()
    except InputError as error:
        return Failed(message=str(error))
    use_storage(storage)
    close = close or close_training
    with ExitStack() as stack:
        if fresh:
            stack.enter_context(temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True}))
        run = Run(stack.enter_context(ThreadPoolTaskRunner(max_workers=workers)))
        try:
            stages(run)
            fault = _fault(run, storage)
        except (InputError, RunFailedError) as error:
            fault = str(error)
        except Exception as error:
            close(run, store, f"the run ended unexpectedly: {type(error).__name__}: {error}", about)
            raise
        manifest = close(run, store, fault, about)
    if manifest.message:
        return Failed(message=manifest.message)
    return f"{storage.rstrip('/')}/{manifest.folder}/manifest.json"


def _fault(run: Run, storage: str) -> str:
    """Why a run whose stages have all been tried is not good; "" if it is."""
    require_records(storage, run.checkpoint_keys())
    failures = run.failures()
    if not failures:
        return ""
    name, error = next(iter(failures.items()))
    return (
        f"{len(failures)} task run(s) failed (the first is {name}: {error}); what is finished is kept: start the run "
        "again to execute only what failed and what needs it."
    )


def close_training(run: Run, store: Storage, fault: str, about: dict[str, Any]) -> Manifest:
    """Leave report and manifest, then artifacts and a whole history on the server, and say where everything is."""
    manifest = describe_run(run, fault, about)
    try:
        store.files.write(f"{manifest.folder}/report.html", render_report(manifest, store).encode())
    except OSError as error:
        manifest = manifest.failed(f"the report cannot be written ({error.strerror or error}): free some space.")
    manifest = write_manifest(manifest, store)
    complete_history(run, lambda: create_artifacts(manifest, store))
    if rows := comparison(manifest):
        heading = f"Means over playlists with held-out tracks (model: {manifest.recipe()})"
        run.progress.show_table(heading, list(COLUMNS), rows)
    run.progress.say(f"report: {store.uri.rstrip('/')}/{manifest.folder}/report.html")
    say_run_page(run, manifest)
    return manifest


def complete_history(run: Run, make_artifacts: Callable[[], None]) -> None:
    """Let Prefect's server show artifacts, a full progress bar, and the end of every task run."""
    try:
        make_artifacts()
        run.progress.finish()
        if late := wait_for_history([future.task_run_id for future in run.futures]):
            get_run_logger().warning("Prefect's server has not recorded the end of %d task runs", late)
    except httpx.HTTPError as error:
        run.progress.say(
            f"Prefect's server does not answer ({type(error).__name__}): this run lacks its artifacts there."
        )


def say_run_page(run: Run, manifest: Manifest) -> None:
    """Print where Prefect shows this run, if it does."""
    if url := url_for("flow-run", obj_id=manifest.run_id):
        run.progress.say(f"Prefect: {url}")


def describe_run(run: Run, fault: str, about: dict[str, Any]) -> Manifest:
    """The manifest of a run whose stages have been tried; fault: why it is not good, or ""."""
    run_id = str(runtime.flow_run.id)
    return Manifest(
        status="failed" if fault else "completed",
        message=fault,
        flow=str(runtime.flow_run.flow_name),
        run_id=run_id,
        run_name=str(runtime.flow_run.name),
        folder=f"runs/{about['started']:%Y%m%dT%H%M%SZ}-{run_id[:8]}",
        seconds=_seconds_since(about["started"]),
        tasks=run.tasks,
        **describe_results(run.results, about["parameters"]),
        **about,
    )


def write_manifest(manifest: Manifest, store: Storage) -> Manifest:
    """Write the manifest; if that fails, return one that says so."""
    manifest = manifest.model_copy(update={"seconds": _seconds_since(manifest.started)})
    try:
        store.files.write(f"{manifest.folder}/manifest.json", manifest.model_dump_json(indent=2).encode())
    except OSError as error:
        return manifest.failed(f"the manifest cannot be written ({error.strerror or error}): free some space.")
    return manifest


def _seconds_since(moment: datetime) -> float:
    return round((datetime.now(UTC) - moment).total_seconds(), 3)
