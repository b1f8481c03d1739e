"""Prefect's history of a run: complete before the process ends."""

from __future__ import annotations

import time
from uuid import UUID

from prefect import get_client
from prefect.client.schemas.filters import (
    TaskRunFilter,
    TaskRunFilterId,
    TaskRunFilterState,
    TaskRunFilterStateType,
)
from prefect.client.schemas.objects import TERMINAL_STATES

PAGE = 200


def wait_for_history(task_run_ids: list[UUID], *, timeout_seconds: float = 60.0) -> int:
    """Wait until the server shows these task runs in a final state; returns how many it does not.

    Task states travel as events in the background. A process that ends before they have arrived, an ephemeral server
    with it, leaves task runs that look as if they were still running.
    """
    waiting, deadline = list(task_run_ids), time.monotonic() + timeout_seconds
    is_final = TaskRunFilterState(type=TaskRunFilterStateType(any_=list(TERMINAL_STATES)))
    with get_client(sync_client=True) as client:
        while waiting and time.monotonic() < deadline:
            wanted = TaskRunFilter(id=TaskRunFilterId(any_=waiting[:PAGE]), state=is_final)
            final = {run.id for run in client.read_task_runs(task_run_filter=wanted, limit=PAGE)}
            waiting = [run_id for run_id in waiting if run_id not in final]
            if not final:
                time.sleep(0.1)
    return len(waiting)
