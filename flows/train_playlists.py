"""Train one logistic regression per playlist, and say how good they are."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from prefect import flow
from prefect.client.schemas.objects import State

from tasks.batches import Fold
from tasks.command_line import run_command
from tasks.errors import SourceChangedError
from tasks.evaluate import evaluate_batch
from tasks.explain import explain_models
from tasks.extract import count_playlists, extract_memberships, extract_tracks, read_snapshot
from tasks.features import build_features
from tasks.lifecycle import close_training, execute_run
from tasks.ml.statuses import FAILURES, TRAINED
from tasks.parameters import (
    ComputeParameters,
    EvaluationParameters,
    FeatureParameters,
    SampleParameters,
    TrainingParameters,
)
from tasks.prepare import prepare_batches
from tasks.references import FeatureMatrix, FileRef, Preparation, Summary, Validation
from tasks.runs import Run, RunFailedError
from tasks.summarize import summarize
from tasks.train import train_batch
from tasks.validate import choose_regularization, choose_thresholds, validate_batch

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
    compute: ComputeParameters = ComputeParameters(),
    fresh: bool = False,
) -> str | State[Any]:
    """Train one model per playlist, evaluate them on held-out tracks, and write a report.

    Everything a run computes is kept in the storage and checked before it is used again: a run that was interrupted,
    or that asks for something similar, computes only what is missing.

    Args:
        source: Where the playlists are: a folder with the Parquet tables playlists and tracks_headers.
        storage: Where data, checkpoints and reports are kept: a folder.
        sample: Which playlists are drawn from the source.
        features: What the models see of a track.
        training: How models are fitted.
        evaluation: How models are judged.
        compute: How much of the machine is used.
        fresh: Compute everything again, whatever is in the storage.
    """
    groups = {"sample": sample, "features": features, "training": training, "evaluation": evaluation}
    return execute_run(
        lambda run: train_and_evaluate(run, source, storage, sample, features, training, evaluation),
        storage=storage,
        parameters={name: group.model_dump() for name, group in groups.items()},
        workers=compute.workers or os.cpu_count() or 1,
        fresh=fresh,
        close=close_training,
        source=source,
    )


def train_and_evaluate(
    run: Run,
    source: str,
    storage: str,
    sample: SampleParameters,
    features: FeatureParameters,
    training: TrainingParameters,
    evaluation: EvaluationParameters,
) -> None:
    """Extract a sample, choose C and thresholds on an inner fold, train on all of train, evaluate and explain."""
    memberships, tracks = extract(run, source, storage, sample)
    prepared: Preparation = run.one(
        prepare_batches,
        storage=storage,
        memberships=memberships,
        tracks=tracks,
        seed=sample.seed,
        batch_size=training.batch_size,
    )
    C, validations = tune(run, storage, prepared, tracks, features, training, sample.seed)
    outer = fit(run, storage, prepared, tracks, "outer", features, training, sample.seed, C)
    thresholds = run.one(
        choose_thresholds, storage=storage, validations=validations, is_half=features.recipe == "notebook"
    )
    evaluations = run.each(
        evaluate_batch,
        {"batch": prepared.batches, "models": outer.models},
        storage=storage,
        features=outer.features,
        memberships=prepared.memberships,
        tracks=tracks,
        counts=prepared.tracks,
        thresholds=thresholds,
        fraction=min(1.0, evaluation.n_playlists / prepared.n_playlists),
    )
    summary = run.one(summarize, storage=storage, models=outer.models, evaluations=evaluations)
    run.one(
        explain_models,
        storage=storage,
        batches=prepared.batches,
        models=outer.models,
        features=outer.features,
        memberships=prepared.memberships,
        tracks=tracks,
        counts=prepared.tracks,
        evaluations=evaluations,
        summary=summary,
    )
    require_models(summary, training.max_failed_fraction)


def extract(run: Run, source: str, storage: str, sample: SampleParameters) -> tuple[FileRef, FileRef]:
    """Memberships and tracks of one state of the source: if it changes meanwhile, start over."""
    drawn = {"n_playlists": sample.n_playlists, "seed": sample.seed, "min_tracks": sample.min_tracks}
    for attempt in range(1, EXTRACT_ATTEMPTS + 1):
        place = {"storage": storage, "source": source, "snapshot": run.one(read_snapshot, source=source)}
        try:
            run.one(count_playlists, **place)
            memberships = run.one(extract_memberships, **place, **drawn)
            return memberships, run.one(extract_tracks, **place, **drawn, catalogue=sample.catalogue)
        except SourceChangedError:
            if attempt == EXTRACT_ATTEMPTS:
                raise
            run.forgive_failures()
    raise AssertionError("the last attempt returns or raises")


def tune(
    run: Run,
    storage: str,
    prepared: Preparation,
    tracks: FileRef,
    features: FeatureParameters,
    training: TrainingParameters,
    seed: int,
) -> tuple[float | None, list[Validation | None]]:
    """The C to train with, and how its models do on the inner fold. C is None if it cannot be chosen."""
    candidates = [1.0] if features.recipe == "notebook" else sorted(set(training.regularization))
    run.progress.expect((2 * len(candidates) + 2) * len(prepared.batches) + 5)
    validations = {}
    for C in candidates:
        inner = fit(run, storage, prepared, tracks, "inner", features, training, seed, C)
        validations[C] = run.each(
            validate_batch,
            {"batch": prepared.batches, "models": inner.models},
            storage=storage,
            features=inner.features,
            memberships=prepared.memberships,
            tracks=tracks,
            counts=prepared.tracks,
            regularization=C,
        )
    if len(candidates) == 1:
        return candidates[0], validations[candidates[0]]
    found = run.one(
        choose_regularization, storage=storage, candidates=candidates, validations=list(validations.values())
    )
    return (None, [None]) if found is None else (found.chosen, validations[found.chosen])


class Fitted(NamedTuple):
    """The features of a fold and the models on them by batch, None for a batch that failed."""

    features: FeatureMatrix
    models: list[FileRef | None]


def fit(
    run: Run,
    storage: str,
    prepared: Preparation,
    tracks: FileRef,
    fold: Fold,
    features: FeatureParameters,
    training: TrainingParameters,
    seed: int,
    C: float | None,
) -> Fitted:
    """Features and models from the train part of a fold alone."""
    counts = prepared.tracks
    matrix = run.one(
        build_features,
        storage=storage,
        memberships=prepared.memberships,
        tracks=tracks,
        counts=counts,
        fold=fold,
        **features.blocks(),
    )
    models = run.each(
        train_batch,
        {"batch": prepared.batches},
        storage=storage,
        features=matrix,
        tracks=tracks,
        counts=counts,
        fold=fold,
        regularization=C,
        n_negatives=training.n_negatives,
        seed=seed if training.n_negatives else 0,  # nothing else is drawn at random
    )
    return Fitted(matrix, models)


def require_models(summary: Summary | None, max_failed_fraction: float) -> None:
    """Raise RunFailedError if too many playlists that could be trained have no model."""
    if summary is None:
        return
    n_failed = sum(summary.models_by_status.get(status, 0) for status in FAILURES)
    n_trainable = n_failed + summary.models_by_status.get(TRAINED, 0)
    if n_failed > max_failed_fraction * n_trainable:
        raise RunFailedError(
            f"{n_failed} of {n_trainable} trainable playlists got no converged model, more than "
            f"training.max_failed_fraction = {max_failed_fraction} allows: lower training.regularization."
        )


if __name__ == "__main__":
    run_command(train_playlists)
