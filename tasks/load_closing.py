"""The end of a load: a manifest, and its summary as a table in the terminal and in Prefect."""

from __future__ import annotations

from typing import Any

from prefect.artifacts import create_table_artifact

from tasks.lifecycle import complete_history, describe_run, say_run_page, write_manifest
from tasks.load_summary import COLUMNS, LoadSummary, count_rows, explain_losses
from tasks.manifest import Manifest
from tasks.runs import Run
from tasks.storage import Storage

MAX_LINES = 20  # of losses in the terminal; the manifest has all
MAX_ROWS = 1000


def close_load(run: Run, store: Storage, fault: str, about: dict[str, Any]) -> Manifest:
    """Leave the manifest, then the summary for people."""
    manifest = write_manifest(describe_run(run, fault, about), store)
    summary = manifest.loaded
    complete_history(run, lambda: _create_artifact(summary))
    if summary:
        _show(run, summary)
    say_run_page(run, manifest)
    return manifest


def _show(run: Run, summary: LoadSummary) -> None:
    run.progress.show_table("Loaded" if summary.published else "Read, not loaded", list(COLUMNS), count_rows(summary))
    losses = explain_losses(summary)
    for what, how_much in losses[:MAX_LINES]:
        run.progress.say(f"{what}: {how_much}")
    if len(losses) > MAX_LINES:
        run.progress.say(f"... and {len(losses) - MAX_LINES} more, all in the manifest")


def _create_artifact(summary: LoadSummary | None) -> None:
    if summary is None:
        return
    rows = [{"table": name} | dict(zip(COLUMNS, figures, strict=True)) for name, figures in count_rows(summary)]
    create_table_artifact(rows, key="loaded-rows", description="Rows by table")
    if losses := explain_losses(summary):
        rows = [{"what": what, "how much": how_much} for what, how_much in losses[:MAX_ROWS]]
        create_table_artifact(rows, key="left-out", description="What was left out or became NULL")
