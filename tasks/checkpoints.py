"""Resumable tasks: keys by code, versions and content, and the reason for every miss.

A task made with `checkpointed` returns a reference (tasks/references.py). Prefect keeps it as a record under
`records/<task>-<key>` of the run's storage (tasks/records.py says which records count).
"""

from __future__ import annotations

import errno
import functools
import hashlib
import inspect
import json
from collections.abc import Callable
from typing import Any

from prefect import get_run_logger, task
from prefect.cache_policies import CachePolicy
from prefect.client.schemas.objects import State, TaskRun
from prefect.context import TaskRunContext
from prefect.settings import PREFECT_TASKS_REFRESH_CACHE
from prefect.states import Completed
from prefect.tasks import Task
from pydantic import TypeAdapter, ValidationError

from tasks.errors import NO_ROOM
from tasks.files import DamagedFileError
from tasks.fingerprint import code_fingerprint, library_versions
from tasks.records import RecordStore, ReferenceSerializer
from tasks.references import Reference
from tasks.storage import Storage

LASTING = (FileNotFoundError, FileExistsError, IsADirectoryError, NotADirectoryError, PermissionError)
LASTING_NUMBERS = (*NO_ROOM, errno.EROFS)
# Where things are and what they are called changes no result.
UNKEYED = frozenset({"storage", "source", "number"})


def key_parts(function: Callable[..., Any], inputs: dict[str, Any]) -> dict[str, str]:
    """Everything a result depends on, by a name that a person understands when it changes."""
    code = code_fingerprint(function.__module__)
    versions = library_versions()
    values = {name: value for name, value in inputs.items() if name not in UNKEYED}
    return (
        {f"code of {name}": digest for name, digest in code.items()}
        | {f"version of {name}": number for name, number in versions.items()}
        | {f"input {name}": _content(value) for name, value in values.items()}
    )


def checkpoint_key(name: str, parts: dict[str, str]) -> str:
    """The name of a record: the task and a hash of the key parts."""
    digest = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()
    return f"{name.replace('_', '-')}-{digest[:40]}"


def _content(value: Any) -> str:
    """The identity of an input: a file counts by its sha256 alone, other values by their JSON."""
    return json.dumps(value, sort_keys=True, default=_plain)


def _plain(value: Any) -> Any:
    if isinstance(value, Reference):
        return getattr(value, "sha256", None) or {name: getattr(value, name) for name in type(value).model_fields}
    raise TypeError(f"{type(value).__name__} cannot be an input of a checkpointed task: it has no stable content")


class ContentPolicy(CachePolicy):
    """Cache by code, library versions and the content of the inputs; never by run or by place."""

    def compute_key(
        self, task_ctx: TaskRunContext, inputs: dict[str, Any], flow_parameters: dict[str, Any], **kwargs: Any
    ) -> str:
        """The record's name for one call of a task."""
        function = inspect.unwrap(task_ctx.task.fn)
        return checkpoint_key(function.__name__, key_parts(function, inputs))


def is_transient(task: Task[..., Any], task_run: TaskRun, state: State[Any]) -> bool:
    """Whether a failed task is worth another try: a passing fault of disk or network is.

    Bad input, a bug, a missing file, a missing permission and a full disk do not pass by waiting.
    """
    error = state.result(raise_on_failure=False)
    return isinstance(error, OSError) and not isinstance(error, LASTING) and error.errno not in LASTING_NUMBERS


def checkpointed(task_run_name: str, **options: Any) -> Callable[[Callable[..., Any]], Task[..., Any]]:
    """Make a resumable task of a function that takes `storage` and plain or reference inputs and returns a reference.

    task_run_name is Prefect's template (`train batch {number}`); it also names the item whose last key parts are
    compared when the task misses. The reason becomes the message of the task run's state.
    """

    def decorate(function: Callable[..., Any]) -> Task[..., Any]:
        @functools.wraps(function)
        def compute(*args: Any, **kwargs: Any) -> State[Any]:
            inputs = inspect.signature(function).bind(*args, **kwargs)
            inputs.apply_defaults()
            miss = Miss(function, inputs.arguments)
            get_run_logger().info("Computing: %s", miss.reason)
            value = function(*args, **kwargs)
            miss.remember()
            return Completed(message=miss.reason, data=value)

        defaults: dict[str, Any] = {
            "cache_policy": ContentPolicy(),
            "persist_result": True,
            "result_serializer": ReferenceSerializer(),
            "cache_result_in_memory": False,
            "retries": 2,
            "retry_delay_seconds": [2, 10],
            "retry_condition_fn": is_transient,
        }
        return task(task_run_name=task_run_name, **(defaults | options))(compute)

    return decorate


class Miss:
    """Why a task has to be computed, by comparison with the last time the same item was."""

    def __init__(self, function: Callable[..., Any], inputs: dict[str, Any]) -> None:
        context = TaskRunContext.get()
        if context is None:
            raise RuntimeError(f"{function.__name__} is a task: call it in a flow")
        self._storage = Storage(inputs["storage"])
        self._parts = key_parts(function, inputs)
        self._key = checkpoint_key(function.__name__, self._parts)
        item = hashlib.sha256(f"{function.__name__} {context.task_run.name}".encode()).hexdigest()[:16]
        self._path = f"records/parts/{function.__name__.replace('_', '-')}-{item}.json"
        self.reason = self._explain()

    def _explain(self) -> str:
        last = self._last_parts()
        if PREFECT_TASKS_REFRESH_CACHE.value():
            return "fresh run asked for"
        if last is None:
            return "new"
        changed = sorted(name for name in self._parts.keys() | last.keys() if self._parts.get(name) != last.get(name))
        return ", ".join(f"{name} changed" for name in changed) or self._record_fault()

    def _last_parts(self) -> dict[str, str] | None:
        try:
            return TypeAdapter(dict[str, str]).validate_json(self._storage.files.read(self._path))
        except (OSError, ValidationError):
            return None

    def _record_fault(self) -> str:
        """What is wrong with the record of this very key, which should have been a hit."""
        try:
            RecordStore(storage_uri=self._storage.uri).read_path(self._key)
        except FileNotFoundError:
            return "record missing"
        except (ValidationError, OSError):
            return "record unreadable or foreign"
        except DamagedFileError as error:
            return str(error)
        return "computed by another run at the same time"

    def remember(self) -> None:
        """Keep the parts for the next comparison."""
        self._storage.files.write(self._path, json.dumps(self._parts, sort_keys=True).encode())
