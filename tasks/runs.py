"""The stages of a flow run: executed one after the other, each with its outcome counted."""

from __future__ import annotations

import os
import time
from typing import Any

from prefect import unmapped
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, as_completed
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task

from tasks.errors import NO_ROOM, InputError
from tasks.manifest import TaskCounts
from tasks.progress import RunProgress


class RunFailedError(Exception):
    """The run cannot go on, or must not count as good: one sentence that says why."""


class Run:
    """Executes the stages of a flow run and remembers what became of every task run.

    A stage whose input is None (its producer failed) is not executed and gives None in turn: a failure stops what
    needs it and nothing else. results and tasks are keyed by stage: the task, and the fold if it has one.
    """

    def __init__(self, runner: ThreadPoolTaskRunner[Any]) -> None:
        self.tasks: dict[str, TaskCounts] = {}
        self.results: dict[str, Any] = {}
        self.futures: list[PrefectFuture[Any]] = []
        self.progress = RunProgress()
        self._runner = runner

    def one(self, task: Task[..., Any], **inputs: Any) -> Any:
        """Execute one task and return its result, or None if an input is missing.

        Raises InputError as the task raised it, and RunFailedError for any other failure.
        """
        if _is_missing(inputs):
            return None
        future = self._runner.submit(task, inputs)
        (result,) = self._settle(stage_of(task, inputs), {_name(task, inputs): future})
        if not future.state.is_completed():
            raise _failure(_name(task, inputs), future.state)
        self.results[stage_of(task, inputs)] = result
        return result

    def each(self, task: Task[..., Any], over: dict[str, list[Any]], **inputs: Any) -> list[Any]:
        """Execute one task per position of the lists in `over`, in parallel; None stands for what failed.

        The position reaches the task as `number`.
        """
        length = len(next(iter(over.values())))
        over = over | {"number": list(range(length))}
        ready = [i for i in range(length) if not _is_missing([inputs, *(values[i] for values in over.values())])]
        mapped = {name: [values[i] for i in ready] for name, values in over.items()}
        static = {name: unmapped(value) for name, value in inputs.items()}
        futures = self._runner.map(task, mapped | static) if ready else []
        items = [inputs | {name: values[i] for name, values in over.items()} for i in ready]
        named = {_name(task, item): future for item, future in zip(items, futures, strict=True)}
        results = dict(zip(ready, self._settle(stage_of(task, inputs), named), strict=True))
        self.results.setdefault(stage_of(task, inputs), []).extend(results.values())  # a stage may come once per C
        return [results.get(i) for i in range(length)]

    def _settle(self, stage: str, futures: dict[str, PrefectFuture[Any]]) -> list[Any]:
        """Wait for task runs, count what became of them, and return their results, None for those that failed."""
        started, counts = time.monotonic(), TaskCounts()
        names = {future.task_run_id: name for name, future in futures.items()}
        self.futures += futures.values()
        label = stage.replace("_", " ")
        if len(futures) > 1:
            self.progress.say(f"{label}: {len(futures)} task runs")
        for future in self.progress.bar(as_completed(list(futures.values())), label, len(futures)):
            future.wait()
            counts.add(names[future.task_run_id], future.state)
            self.progress.advance()
        self.tasks[stage] = self.tasks.get(stage, TaskCounts()) + counts
        self.progress.say(f"{label}: {counts.sentence()}, {time.monotonic() - started:.1f} s")
        return [future.result() if future.state.is_completed() else None for future in futures.values()]

    def failures(self) -> dict[str, str]:
        """The error of every task run that failed, by its name."""
        return {name: error for counts in self.tasks.values() for name, error in counts.failures.items()}

    def forgive_failures(self) -> None:
        """What failed so far is tried again in another way: it stays counted, but no longer fails the run."""
        for counts in self.tasks.values():
            counts.failures.clear()

    def checkpoint_keys(self, *, is_computed: bool = False) -> list[str]:
        """The record names of all finished task runs that have one, or of those only that were computed in this run."""
        states = [future.state for future in self.futures]
        records: list[Any] = [
            state.data for state in states if state.is_completed() and not (is_computed and state.name == "Cached")
        ]
        return [record.metadata.storage_key for record in records if record.metadata.serializer.type == "reference"]


def stage_of(task: Task[..., Any], inputs: dict[str, Any]) -> str:
    """The key of a stage in results and counts: the task, and the fold if it has one."""
    name = task.name.replace("-", "_")
    return f"{name}_{inputs['fold']}" if "fold" in inputs else name


def _name(task: Task[..., Any], inputs: dict[str, Any]) -> str:
    return str(task.task_run_name).format(**inputs)


def _is_missing(value: Any) -> bool:
    if isinstance(value, dict):
        return any(_is_missing(item) for item in value.values())
    return value is None or (isinstance(value, list) and any(_is_missing(item) for item in value))


def _failure(name: str, state: State[Any]) -> Exception:
    error = state.result(raise_on_failure=False)
    if isinstance(error, InputError):
        return error
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        return RunFailedError(
            f"{name} cannot write ({os.strerror(error.errno)}): free some space and start the run again; what is "
            "finished is kept."
        )
    return RunFailedError(f"{name} failed: {type(error).__name__}: {error}")
