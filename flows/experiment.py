"""The stages after the extracts: an inner fold to choose on, an outer one to judge on, all memberships to publish."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

from tasks.batches import Fold
from tasks.evaluate import evaluate_batch
from tasks.explain import explain_models
from tasks.features import build_features
from tasks.gate import decide_publication
from tasks.manifest import files_by_stage
from tasks.ml.statuses import FAILURES, TRAINED
from tasks.parameters import FeatureParameters, PublicationParameters, TrainingParameters
from tasks.references import FeatureMatrix, FileRef, Preparation, Summary, Validation
from tasks.runs import Run, RunFailedError
from tasks.summarize import count_models, summarize
from tasks.train import train_batch
from tasks.validate import choose_regularization, choose_thresholds, validate_batch


class Fitted(NamedTuple):
    """The features of a fold and the models on them by batch, None for a batch that failed."""

    features: FeatureMatrix
    models: list[FileRef | None]


@dataclass(frozen=True)
class Experiment:
    """One sample and one recipe: what all stages after the extracts have in common."""

    run: Run
    storage: str
    prepared: Preparation
    tracks: FileRef
    features: FeatureParameters
    training: TrainingParameters
    seed: int

    @property
    def data(self) -> dict[str, Any]:
        """Where the stages work, and on which sample."""
        memberships, counts = self.prepared.memberships, self.prepared.tracks
        return {"storage": self.storage, "memberships": memberships, "tracks": self.tracks, "counts": counts}

    def tune(self) -> tuple[float | None, list[Validation | None]]:
        """The C to train with, and how its models do on the inner fold. C is None if it cannot be chosen."""
        candidates = [1.0] if self.features.recipe == "notebook" else sorted(set(self.training.regularization))
        self.run.progress.expect((2 * len(candidates) + 3) * len(self.prepared.batches) + 8)
        validations = {}
        for C in candidates:
            inner = self.fit("inner", C)
            validations[C] = self.run.each(
                validate_batch,
                {"batch": self.prepared.batches, "models": inner.models},
                **self.data,
                features=inner.features,
                regularization=C,
            )
        if len(candidates) == 1:
            return candidates[0], validations[candidates[0]]
        found = self.run.one(
            choose_regularization,
            storage=self.storage,
            candidates=candidates,
            validations=list(validations.values()),
        )
        return (None, [None]) if found is None else (found.chosen, validations[found.chosen])

    def fit(self, fold: Fold, C: float | None) -> Fitted:
        """Features and models from the train part of a fold alone."""
        matrix = self.run.one(build_features, **self.data, fold=fold, **self.features.blocks())
        n_negatives = self.training.n_negatives
        models = self.run.each(
            train_batch,
            {"batch": self.prepared.batches},
            storage=self.storage,
            features=matrix,
            tracks=self.tracks,
            counts=self.prepared.tracks,
            fold=fold,
            regularization=C,
            n_negatives=n_negatives,
            seed=self.seed if n_negatives else 0,  # nothing else is drawn at random
        )
        return Fitted(matrix, models)

    def evaluate(self, outer: Fitted, validations: list[Validation | None], fraction: float) -> Summary | None:
        """Metrics of a fraction of the playlists on their held-out tracks, and what the report shows beside them."""
        is_half = self.features.recipe == "notebook"
        thresholds = self.run.one(choose_thresholds, storage=self.storage, validations=validations, is_half=is_half)
        evaluations = self.run.each(
            evaluate_batch,
            {"batch": self.prepared.batches, "models": outer.models},
            **self.data,
            features=outer.features,
            thresholds=thresholds,
            fraction=fraction,
        )
        summary: Summary | None = self.run.one(
            summarize, storage=self.storage, models=outer.models, evaluations=evaluations
        )
        self.run.one(
            explain_models,
            **self.data,
            batches=self.prepared.batches,
            models=outer.models,
            features=outer.features,
            evaluations=evaluations,
            summary=summary,
        )
        return summary

    def publish(self, summary: Summary | None, C: float | None, publication: PublicationParameters) -> None:
        """Decide whether the run is published, and if so fit the models on all memberships; the rest comes last."""
        if summary is None:
            return
        self.require_models(summary.models_by_status)
        decision = self.run.one(
            decide_publication,
            storage=self.storage,
            summary=summary,
            files=files_by_stage(self.run.results),
            **publication.model_dump(),
            refit=self.training.refit,
        )
        if self.training.refit and decision.verdict != "keep":  # if unchanged, lost files of the champion heal here
            counted = self.run.one(count_models, storage=self.storage, models=self.fit("all", C).models)
            if counted is not None:
                self.require_models(counted.by_status)

    def require_models(self, by_status: dict[str, int]) -> None:
        """Raise RunFailedError if too many playlists that could be trained have no model."""
        n_failed = sum(by_status.get(status, 0) for status in FAILURES)
        n_trainable = n_failed + by_status.get(TRAINED, 0)
        if n_failed > self.training.max_failed_fraction * n_trainable:
            raise RunFailedError(
                f"{n_failed} of {n_trainable} trainable playlists got no converged model, more than "
                f"training.max_failed_fraction = {self.training.max_failed_fraction} allows: lower "
                "training.regularization."
            )
