"""A flow run from its first to its last moment: checks before it, manifest, report and history after it."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from datetime import UTC, datetime
from typing import Any

from prefect import get_run_logger, runtime
from prefect.client.schemas.objects import State
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE, temporary_settings
from prefect.states import Failed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.utilities.urls import url_for

from tasks.artifacts import create_artifacts
from tasks.errors import InputError
from tasks.history import wait_for_history
from tasks.manifest import Manifest, describe_results
from tasks.records import require_records, use_storage
from tasks.report import COLUMNS, comparison, render_report
from tasks.runs import Run, RunFailedError
from tasks.storage import Storage


def execute_run(
    stages: Callable[[Run], None], *, source: str, storage: str, parameters: dict[str, Any], workers: int, fresh: bool
) -> str | State[Any]:
    """Execute the stages of the current flow run on a storage, and leave a manifest and a report whatever happens.

    Returns where the manifest is, or a Failed state whose message is one sentence. An unexpected error propagates
    after the manifest is written.
    """
    started = time.time()
    try:
        store = Storage(storage)
        store.probe()
    except InputError as error:
        return Failed(message=str(error))
    use_storage(storage)
    about = {"source": source, "parameters": parameters, "started": datetime.fromtimestamp(started, UTC)}
    with ExitStack() as stack:
        if fresh:
            stack.enter_context(temporary_settings({PREFECT_TASKS_REFRESH_CACHE: True}))
        run = Run(stack.enter_context(ThreadPoolTaskRunner(max_workers=workers)))
        message = "the run ended unexpectedly"
        try:
            stages(run)
            message = _fault(run, storage)
        except (InputError, RunFailedError) as error:
            message = str(error)
        except Exception:
            _close(run, store, message, about)
            raise
        manifest_path = _close(run, store, message, about)
    return Failed(message=message) if message else f"{storage.rstrip('/')}/{manifest_path}"


def _fault(run: Run, storage: str) -> str:
    """Why a run whose stages have all been tried is not good; "" if it is."""
    require_records(storage, run.checkpoint_keys())
    failures = run.failures()
    if not failures:
        return ""
    name, error = next(iter(failures.items()))
    return (
        f"{len(failures)} task runs failed (the first is {name}: {error}); what is finished is kept: start the run "
        "again to execute only what failed and what needs it."
    )


def _close(run: Run, store: Storage, message: str, about: dict[str, Any]) -> str:
    """Write the report, then the manifest, and wait for the history; returns the manifest's path."""
    started: datetime = about["started"]
    folder = f"runs/{started:%Y%m%dT%H%M%SZ}-{str(runtime.flow_run.id)[:8]}"
    if late := wait_for_history([future.task_run_id for future in run.futures]):
        get_run_logger().warning("Prefect's server has not recorded the end of %d task runs", late)
    manifest = Manifest(
        status="failed" if message else "completed",
        message=message,
        flow=str(runtime.flow_run.flow_name),
        run_id=str(runtime.flow_run.id),
        run_name=str(runtime.flow_run.name),
        seconds=round(time.time() - started.timestamp(), 3),
        tasks=run.tasks,
        **describe_results(run.results, about["parameters"]),
        **about,
    )
    store.write_bytes(f"{folder}/report.html", render_report(manifest, store).encode())
    create_artifacts(manifest, store)
    run.progress.finish()
    if rows := comparison(manifest):
        run.progress.show_table("Means over playlists with held-out tracks", list(COLUMNS), rows)
    run.progress.say(f"report: {store.uri.rstrip('/')}/{folder}/report.html")
    if url := url_for("flow-run", obj_id=manifest.run_id):
        run.progress.say(f"Prefect: {url}")
    store.write_bytes(f"{folder}/manifest.json", manifest.model_dump_json(indent=2).encode())
    return f"{folder}/manifest.json"
