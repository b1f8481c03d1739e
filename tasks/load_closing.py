"""The end of a load: a manifest, and its summary as a table in the terminal and in Prefect."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_table_artifact
from prefect.utilities.urls import url_for

from tasks.lifecycle import finish_run
from tasks.load_summary import COLUMNS, LoadSummary, count_rows, explain_losses, summarize_load
from tasks.manifest import RunManifest
from tasks.references import files_in
from tasks.runs import Run
from tasks.storage import Storage

MAX_LINES = 20  # of losses in the terminal; the manifest has all
MAX_ROWS = 1000


class LoadManifest(RunManifest):
    """One run that loaded files into a warehouse. summary: None if it did not come to read them."""

    summary: LoadSummary | None = None


def close_load(run: Run, store: Storage, about: dict[str, Any]) -> LoadManifest:
    """Leave the manifest, then the summary for people."""
    files = {stage: files_in(result) for stage, result in run.results.items() if files_in(result)}
    manifest = LoadManifest(**about, files=files, summary=summarize_load(run.results))
    manifest = finish_run(run, store, manifest, _create_artifacts)
    if manifest.summary:
        _show(run, manifest.summary)
    if url := url_for("flow-run", obj_id=manifest.run_id):
        run.progress.say(f"Prefect: {url}")
    return manifest


def _show(run: Run, summary: LoadSummary) -> None:
    run.progress.show_table("Loaded" if summary.published else "Read, not loaded", list(COLUMNS), count_rows(summary))
    losses = explain_losses(summary)
    for what, how_much in losses[:MAX_LINES]:
        run.progress.say(f"{what}: {how_much}")
    if len(losses) > MAX_LINES:
        run.progress.say(f"... and {len(losses) - MAX_LINES} more, all in the manifest")


def _create_artifacts(manifest: LoadManifest, store: Storage) -> None:
    summary = manifest.summary
    if summary is None:
        return
    rows = [{"table": name} | dict(zip(COLUMNS, figures, strict=True)) for name, figures in count_rows(summary)]
    create_table_artifact(rows, key="loaded-rows", description="Rows by table")
    if losses := explain_losses(summary):
        rows = [{"what": what, "how much": how_much} for what, how_much in losses[:MAX_ROWS]]
        create_table_artifact(rows, key="left-out", description="What was left out or became NULL")
