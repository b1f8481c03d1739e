"""The manifest: everything a run was asked, found and left behind, under plain stable names."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from importlib.metadata import version
from typing import Any, Literal, Self

import threadpoolctl
from prefect.client.schemas.objects import State
from pydantic import BaseModel, Field

from tasks.fingerprint import library_versions
from tasks.references import Census, Distribution, Explanation, FileRef, Regularization, Served, files_in


class TaskCounts(BaseModel):
    """What became of the runs of one task. reasons: why something was computed. failures: by task run name."""

    computed: int = 0
    reused: int = 0
    failed: int = 0
    reasons: dict[str, int] = Field(default_factory=dict)
    failures: dict[str, str] = Field(default_factory=dict)

    def add(self, task_run_name: str, state: State[Any]) -> None:
        """Count one finished task run; its state's message is the reason, or the error."""
        message = state.message or ""
        if not state.is_completed():
            self.failed += 1
            self.failures[task_run_name] = message
        elif state.name == "Cached":
            self.reused += 1
        else:
            self.computed += 1
            self.reasons = dict(Counter(self.reasons) + Counter([message] if message else []))

    def __add__(self, other: TaskCounts) -> TaskCounts:
        """The counts of both."""
        return TaskCounts(
            computed=self.computed + other.computed,
            reused=self.reused + other.reused,
            failed=self.failed + other.failed,
            reasons=dict(Counter(self.reasons) + Counter(other.reasons)),
            failures=self.failures | other.failures,
        )

    def sentence(self) -> str:
        """The counts in words, such as "3 computed (input features changed), 2 reused"."""
        reasons = ", ".join(reason for reason in self.reasons if reason)
        counts = {f"computed ({reasons})" if reasons else "computed": self.computed, "reused": self.reused}
        counts |= {"failed": self.failed}
        return ", ".join(f"{n} {what}" for what, n in counts.items() if n) or "nothing to do"


class Sample(BaseModel):
    """What was drawn. dropped_features: columns that do not enter the models, with the reason."""

    asked: int
    found: int
    memberships: int
    tracks: int
    fit_tracks: int
    dropped_features: dict[str, str]
    tracks_by_n_playlists: list[tuple[int, int]]


class RunManifest(BaseModel):
    """What every run says of itself. folder: its own, relative to the storage root, as are all paths here.

    files: what each stage left. records: the checkpoints that the run made or used, which it would use again.
    """

    status: Literal["completed", "failed"]
    message: str
    flow: str
    run_id: str
    run_name: str
    folder: str
    started: datetime
    seconds: float
    project_version: str = Field(default_factory=lambda: version("playlist-models"))
    library_versions: dict[str, str] = Field(default_factory=lambda: library_versions() | prefect_version())
    blas: list[str] = Field(default_factory=lambda: blas_kernels())
    parameters: dict[str, Any]
    tasks: dict[str, TaskCounts]
    files: dict[str, list[FileRef]] = Field(default_factory=dict)
    records: list[str]

    def failed(self, fault: str) -> Self:
        """The same run, failed for one more reason."""
        return self.model_copy(update={"status": "failed", "message": f"{self.message} {fault}".strip()})


class Manifest(RunManifest):
    """One run that trained models."""

    source: str
    snapshot: dict[str, str] | None = None
    census: Census | None = None
    sample: Sample | None = None
    models: dict[str, int] = Field(default_factory=dict)
    regularization: Regularization | None = None
    explanation: Explanation | None = None
    metrics: dict[str, dict[str, Distribution]] = Field(default_factory=dict)
    served: Served | None = None

    def recipe(self) -> str:
        """The features in a few words: "notebook", or the blocks, such as "spline audio, embeddings, affinity"."""
        features = self.parameters["features"]
        if features["recipe"] == "notebook":
            return "notebook"
        blocks = [] if features["audio"] == "none" else [f"{features['audio']} audio"]
        return ", ".join(blocks + [name for name in ("embeddings", "catalogue", "affinity") if features[name]])


def describe_results(results: dict[str, Any], parameters: dict[str, Any]) -> dict[str, Any]:
    """The manifest's fields about data and models, as far as the run's stages came."""
    described: dict[str, Any] = {
        "census": results.get("count_playlists"),
        "regularization": results.get("choose_regularization"),
        "explanation": results.get("explain_models"),
        "files": {stage: files_in(result) for stage, result in results.items() if files_in(result)},
    }
    if snapshot := results.get("read_snapshot"):
        described["snapshot"] = snapshot.tables
    if (prepared := results.get("prepare_batches")) and (features := results.get("build_features_outer")):
        described["sample"] = Sample(
            asked=parameters["sample"]["n_playlists"],
            found=prepared.n_playlists,
            memberships=prepared.n_memberships,
            tracks=prepared.n_tracks,
            fit_tracks=prepared.n_fit_tracks,
            dropped_features=features.dropped,
            tracks_by_n_playlists=prepared.histogram,
        )
        models = results.get("train_batch_outer", [])
        if len(models) == len(prepared.batches) and None not in models:
            described["served"] = Served(
                tracks=results["extract_tracks"], preparation=prepared, fold="outer", features=features, models=models
            )
    if summary := results.get("summarize"):
        described |= {"models": summary.models_by_status, "metrics": summary.metrics}
    return described


def prefect_version() -> dict[str, str]:
    """Prefect's version: recorded, though no result depends on it."""
    return {"prefect": version("prefect")}


def blas_kernels() -> list[str]:
    """The BLAS libraries of this process with their kernels: the same bytes are promised for one kernel only."""
    found = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return sorted(
        {f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip() for pool in found}
    )
