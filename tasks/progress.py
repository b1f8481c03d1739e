"""What a person sees while a run goes on: lines and a bar in the terminal, a progress artifact in Prefect."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from typing import TypeVar
from uuid import UUID

import httpx
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

T = TypeVar("T")
SECONDS_BETWEEN_UPDATES = 1.0


class _Output(Console):
    """Standard output. A reader that has gone away is an error like others: rich itself would end the process."""

    def on_broken_pipe(self) -> None:
        """Let the BrokenPipeError through."""
        raise


class RunProgress:
    """Standard error and one Prefect artifact, moved forward task by task."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._done, self._expected = 0, 1
        self._updated = time.monotonic()
        artifact = create_progress_artifact(progress=0.0, key="progress", description="Tasks done")
        self._artifact_id: UUID = artifact  # type: ignore[assignment]  # the sync call returns the id itself

    def expect(self, n_tasks: int) -> None:
        """So many more task runs will come."""
        self._expected += n_tasks

    def say(self, line: str) -> None:
        """Print one line."""
        self._console.print(line, markup=False, soft_wrap=True)

    def advance(self) -> None:
        """One task run is final."""
        self._done += 1
        if time.monotonic() - self._updated > SECONDS_BETWEEN_UPDATES:
            self._update(min(99.0, 100 * self._done / self._expected))

    def show_table(self, heading: str, columns: list[str], rows: list[tuple[str, list[str]]]) -> None:
        """Print a table of numbers on standard output; a closed pipe there must not undo a finished run."""
        table = Table(title=heading, title_justify="left")
        table.add_column("")
        for column in columns:
            table.add_column(column, justify="right")
        for name, cells in rows:
            table.add_row(name, *cells)
        with contextlib.suppress(OSError):
            _Output().print(table)

    def finish(self) -> None:
        """Fill the artifact."""
        self._update(100.0)

    def bar(self, items: Iterable[T], label: str, total: int) -> Iterator[T]:
        """Pass items on, with a bar while they come (in a terminal)."""
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        is_shown = self._console.is_terminal and total > 1
        with Progress(*columns, console=self._console, transient=True, disable=not is_shown) as bar:
            yield from bar.track(items, total=total, description=label)

    def _update(self, percent: float) -> None:
        with contextlib.suppress(httpx.HTTPError):  # a bar that stands still must not end a run
            update_progress_artifact(artifact_id=self._artifact_id, progress=percent)
        self._updated = time.monotonic()
