"""Train one logistic regression per playlist, say how good they are, and publish them if they are good enough."""

from __future__ import annotations

import os
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State

from flows.experiment import Experiment
from tasks.command_line import run_command
from tasks.errors import SourceChangedError
from tasks.extract import count_playlists, extract_memberships, extract_tracks, read_snapshot
from tasks.lifecycle import close_training, execute_run
from tasks.parameters import (
    ComputeParameters,
    EvaluationParameters,
    FeatureParameters,
    PublicationParameters,
    SampleParameters,
    TrainingParameters,
)
from tasks.prepare import prepare_batches
from tasks.references import Extract, FileRef, Preparation
from tasks.runs import Run
from tasks.warehouse.byte_sizes import parse_bytes

EXTRACT_ATTEMPTS = 3


@flow(name="train-playlists", flow_run_name="train up to {sample.n_playlists} playlists, seed {sample.seed}")
def train_playlists(
    *,
    source: str = "deployments/sample_warehouse",
    storage: str = "store",
    sample: SampleParameters = SampleParameters(),
    features: FeatureParameters = FeatureParameters(),
    training: TrainingParameters = TrainingParameters(),
    evaluation: EvaluationParameters = EvaluationParameters(),
    publication: PublicationParameters = PublicationParameters(),
    compute: ComputeParameters = ComputeParameters(),
    fresh: bool = False,
) -> str | State[Any]:
    """Train one model per playlist, evaluate them on held-out tracks, write a report, and publish what is good enough.

    Everything a run computes is kept in the storage and checked before it is used again: a run that was interrupted,
    or that asks for something similar, computes only what is missing.

    Args:
        source: Where the playlists are: a folder with the Parquet tables playlists and tracks_headers, or
            bigquery://project/dataset?location=EU.
        storage: Where data, checkpoints and reports are kept: a folder, or gs://bucket/prefix.
        sample: Which playlists are drawn from the source.
        features: What the models see of a track.
        training: How models are fitted.
        evaluation: How models are judged.
        publication: When a run becomes the champion, whose models recommend.
        compute: How much of the machine is used.
        fresh: Compute everything again, whatever is in the storage.
    """

    def train_evaluate_and_publish(run: Run) -> None:
        memberships, tracks = extract(run, source, storage, sample)
        prepared: Preparation = run.one(
            prepare_batches,
            storage=storage,
            memberships=memberships,
            tracks=tracks,
            seed=sample.seed,
            batch_size=training.batch_size,
        )
        experiment = Experiment(run, storage, prepared, tracks, features, training, sample.seed)
        C, validations = experiment.tune()
        outer = experiment.fit("outer", C)
        summary = experiment.evaluate(outer, validations, min(1.0, evaluation.n_playlists / prepared.n_playlists))
        experiment.publish(summary, C, publication)

    groups = {"sample": sample, "features": features, "training": training, "evaluation": evaluation}
    groups |= {"publication": publication}
    return execute_run(
        train_evaluate_and_publish,
        storage=storage,
        parameters={name: group.model_dump() for name, group in groups.items()},
        workers=compute.workers or os.cpu_count() or 1,
        fresh=fresh,
        close=close_training,
        source=source,
    )


def extract(run: Run, source: str, storage: str, sample: SampleParameters) -> tuple[FileRef, FileRef]:
    """Memberships and tracks of one state of the source: if it changes meanwhile, start over."""
    drawn = {"n_playlists": sample.n_playlists, "seed": sample.seed, "min_tracks": sample.min_tracks}
    limit = {"maximum_bytes_billed": parse_bytes(sample.maximum_bytes_billed)}
    for attempt in range(1, EXTRACT_ATTEMPTS + 1):
        place = {"storage": storage, "source": source, "snapshot": run.one(read_snapshot, source=source)} | limit
        try:
            run.one(count_playlists, **place)
            memberships: Extract = run.one(extract_memberships, **place, **drawn)
            tracks: Extract = run.one(extract_tracks, **place, **drawn, catalogue=sample.catalogue)
            return memberships.file, tracks.file
        except SourceChangedError:
            if attempt == EXTRACT_ATTEMPTS:
                raise
            run.forgive_failures()
    raise AssertionError("the last attempt returns or raises")


if __name__ == "__main__":
    run_command(train_playlists)
