"""The work of `train_playlists` with its default parameters, every stage called as a plain function: no Prefect.

    python -m tests.benchmarks.plain_flow STORAGE BATCH_SIZE

Same functions on the same files in as many threads; no server, task runs, checkpoints, manifest, report or artifacts.
The last line of standard output is JSON: seconds, and how many calls there were.
"""

from __future__ import annotations

import inspect
import json
import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from unittest.mock import patch

from flows.train_playlists import train_playlists
from tasks.parameters import TrainingParameters
from tasks.runs import stage_of
from tests.conftest import SAMPLE_WAREHOUSE


class Calls:
    """Stands in for `Run`: executes a stage at once and remembers nothing but its result and the number of calls."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.n, self.results, self.progress, self._pool = 0, {}, self, pool

    def expect(self, n_tasks: int) -> None:
        pass

    def one(self, task: Any, **inputs: Any) -> Any:
        self.n += 1
        self.results[stage_of(task, inputs)] = result = function_of(task)(**inputs)
        return result

    def each(self, task: Any, over: dict[str, list[Any]], **inputs: Any) -> list[Any]:
        over = over | {"number": list(range(len(next(iter(over.values())))))}
        items = [dict(zip(over, values, strict=True)) for values in zip(*over.values(), strict=True)]
        self.n += len(items)
        results = list(self._pool.map(lambda item: function_of(task)(**inputs, **item), items))
        self.results.setdefault(stage_of(task, inputs), []).extend(results)
        return results


def function_of(task: Any) -> Callable[..., Any]:
    """What a person wrote: neither Prefect's task nor our checkpoint around it."""
    return inspect.unwrap(task.fn)


def main(storage: str, batch_size: str) -> None:
    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        calls = Calls(pool)
        with patch("flows.train_playlists.execute_run", lambda stages, **_: stages(calls)):
            train_playlists.fn(
                source=str(SAMPLE_WAREHOUSE), storage=storage, training=TrainingParameters(batch_size=int(batch_size))
            )
    print(json.dumps({"seconds": time.perf_counter() - began, "calls": calls.n}))


if __name__ == "__main__":
    main(*sys.argv[1:])
