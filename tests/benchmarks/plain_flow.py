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

from flows.train_playlists import train_and_evaluate
from tasks.parameters import EvaluationParameters, FeatureParameters, SampleParameters, TrainingParameters
from tasks.runs import Run
from tests.conftest import SAMPLE_WAREHOUSE


class Calls:
    """Stands in for `Run`: executes a stage at once and remembers nothing but the number of calls."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.n, self.progress, self._pool = 0, self, pool

    def expect(self, n_tasks: int) -> None:
        pass

    def one(self, task: Any, **inputs: Any) -> Any:
        self.n += 1
        return function_of(task)(**inputs)

    def each(self, task: Any, over: dict[str, list[Any]], **inputs: Any) -> list[Any]:
        over = over | {"number": list(range(len(next(iter(over.values())))))}
        items = [dict(zip(over, values, strict=True)) for values in zip(*over.values(), strict=True)]
        self.n += len(items)
        return list(self._pool.map(lambda item: function_of(task)(**inputs, **item), items))


def function_of(task: Any) -> Callable[..., Any]:
    """What a person wrote: neither Prefect's task nor our checkpoint around it."""
    return inspect.unwrap(task.fn)


def main(storage: str, batch_size: str) -> None:
    groups = [SampleParameters(), FeatureParameters(), TrainingParameters(batch_size=int(batch_size))]
    began = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        calls: Run | Any = Calls(pool)
        train_and_evaluate(calls, str(SAMPLE_WAREHOUSE), storage, *groups, EvaluationParameters())
    print(json.dumps({"seconds": time.perf_counter() - began, "calls": calls.n}))


if __name__ == "__main__":
    main(*sys.argv[1:])
