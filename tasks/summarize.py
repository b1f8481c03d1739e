"""All batches to one file of models, one of metrics, and their distributions."""

from __future__ import annotations

from collections import Counter

import pandas as pd

from tasks.checkpoints import checkpointed
from tasks.ml.summary import describe_metrics
from tasks.references import Distribution, Evaluation, FileRef, ModelCounts, Summary
from tasks.storage import Storage


@checkpointed(task_run_name="summarize")
def summarize(*, storage: str, models: list[FileRef], evaluations: list[Evaluation]) -> Summary:
    """All models and all metrics as one file each (a row group per batch), and how the metrics are distributed."""
    store, metrics = Storage(storage), [evaluation.metrics for evaluation in evaluations]
    numbers = pd.concat([store.read_table(file).to_pandas() for file in metrics], ignore_index=True)
    described = describe_metrics(numbers)
    return Summary(
        models=_join(store, "all_models", models),
        metrics_file=_join(store, "all_metrics", metrics),
        models_by_status=_count_statuses(store, models),
        metrics={
            name: {metric: Distribution.model_validate(values) for metric, values in part.items()}
            for name, part in described.items()
        },
    )


@checkpointed(task_run_name="count refitted models")
def count_models(*, storage: str, models: list[FileRef]) -> ModelCounts:
    """How the refit of all batches ended: it has no metrics to be summarised with."""
    return ModelCounts(by_status=_count_statuses(Storage(storage), models))


def _count_statuses(store: Storage, models: list[FileRef]) -> dict[str, int]:
    by_status: Counter[str] = Counter()
    for file in models:
        by_status.update(store.read_table(file, columns=["status"])["status"].to_pylist())
    return dict(sorted(by_status.items()))


def _join(store: Storage, stage: str, files: list[FileRef]) -> FileRef:
    with store.open_parquet(files[0]) as parquet:
        schema = parquet.schema_arrow
    return store.write_row_groups(stage, schema, (store.read_table(file) for file in files))
