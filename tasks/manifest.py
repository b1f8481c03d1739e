"""The manifest: everything a run was asked, found and left behind, under plain stable names."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from importlib.metadata import version
from typing import Any, Literal, Self, TypeVar

import threadpoolctl
from prefect.client.schemas.objects import State
from pydantic import BaseModel, Field, ValidationError

from tasks.champion import Decision
from tasks.errors import InputError, first_fault
from tasks.fingerprint import library_versions
from tasks.references import Census, Distribution, Explanation, Extract, FileRef, Regularization, Served, files_in
from tasks.storage import Storage

FilesByStage = dict[str, list[FileRef]]
Form = TypeVar("Form", bound=BaseModel)


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
    files: FilesByStage = Field(default_factory=dict)
    records: list[str]

    def failed(self, fault: str) -> Self:
        """The same run, failed for one more reason."""
        return self.model_copy(update={"status": "failed", "message": f"{self.message} {fault}".strip()})


class Manifest(RunManifest):
    """One run that trained models.

    bytes_processed: by stage, what a warehouse that bills said its query would process when it was made; if the stage
    is reused in this run (tasks), that was in an earlier one.
    """

    source: str
    snapshot: dict[str, str] | None = None
    census: Census | None = None
    bytes_processed: dict[str, int] = Field(default_factory=dict)
    sample: Sample | None = None
    models: dict[str, int] = Field(default_factory=dict)
    regularization: Regularization | None = None
    explanation: Explanation | None = None
    metrics: dict[str, dict[str, Distribution]] = Field(default_factory=dict)
    served: Served | None = None
    decision: Decision | None = None

    def recipe(self) -> str:
        """The features in a few words: "notebook", or the blocks, such as "spline audio, embeddings, affinity"."""
        features = self.parameters["features"]
        if features["recipe"] == "notebook":
            return "notebook"
        blocks = [] if features["audio"] == "none" else [f"{features['audio']} audio"]
        return ", ".join(blocks + [name for name in ("embeddings", "catalogue", "affinity") if features[name]])

    def failed(self, fault: str) -> Self:
        """The same run, failed for one more reason; a failed run is never published."""
        return super().failed(fault).model_copy(update={"decision": None})


def describe_results(results: dict[str, Any], about: dict[str, Any]) -> dict[str, Any]:
    """The manifest's fields about data and models, as far as the run's stages came.

    about: the fields that all manifests share. A run that failed after the decision is not published.
    """
    described: dict[str, Any] = {
        "census": results.get("count_playlists"),
        "bytes_processed": {
            stage: result.bytes_processed
            for stage, result in results.items()
            if isinstance(result, (Census, Extract)) and result.bytes_processed is not None
        },
        "regularization": results.get("choose_regularization"),
        "explanation": results.get("explain_models"),
        "files": files_by_stage(results),
        "served": _served(results),
        "decision": results.get("decide_publication") if about["status"] == "completed" else None,
    }
    if snapshot := results.get("read_snapshot"):
        described["snapshot"] = snapshot.tables
    if (prepared := results.get("prepare_batches")) and (features := results.get("build_features_outer")):
        described["sample"] = Sample(
            asked=about["parameters"]["sample"]["n_playlists"],
            found=prepared.n_playlists,
            memberships=prepared.n_memberships,
            tracks=prepared.n_tracks,
            fit_tracks=prepared.n_fit_tracks,
            dropped_features=features.dropped,
            tracks_by_n_playlists=prepared.histogram,
        )
    if summary := results.get("summarize"):
        described |= {"models": summary.models_by_status, "metrics": summary.metrics}
    return described


def files_by_stage(results: dict[str, Any]) -> FilesByStage:
    """The files that each stage left."""
    return {stage: files for stage, result in results.items() if (files := files_in(result))}


def _served(results: dict[str, Any]) -> Served | None:
    """The refit if it is whole, else the outer models if they are."""
    folds: tuple[Literal["all", "outer"], ...] = ("all", "outer")
    prepared = results.get("prepare_batches")
    for fold in folds:
        models = results.get(f"train_batch_{fold}", [])
        if prepared and len(models) == len(prepared.batches) and None not in models:
            features, tracks = results[f"build_features_{fold}"], results["extract_tracks"].file
            return Served(tracks=tracks, preparation=prepared, fold=fold, features=features, models=models)
    return None


def joined_file(files: FilesByStage, folder: Literal["all_models", "all_metrics"]) -> FileRef | None:
    """The file of all models or all metrics of a run; None if it did not come so far."""
    found = [file for file in files.get("summarize", []) if file.path.startswith(f"data/{folder}/")]
    return found[0] if found else None


def read_manifest(store: Storage, folder: str, form: type[Form]) -> Form:
    """The manifest in a run's folder; raises InputError if it is not there, or not of this form."""
    path = f"{folder}/manifest.json"
    try:
        return form.model_validate_json(store.files.read(path))
    except FileNotFoundError as error:
        raise InputError(
            f"storage {store.uri!r} has no finished run {folder}: it was deleted, or never ended; name another one."
        ) from error
    except ValidationError as error:
        raise InputError(
            f"{path} of storage {store.uri!r} cannot be read ({first_fault(error)}): it is damaged, of another version "
            "or of another flow. Put a good copy back, name another run, or delete that folder."
        ) from error


def prefect_version() -> dict[str, str]:
    """Prefect's version: recorded, though no result depends on it."""
    return {"prefect": version("prefect")}


def blas_kernels() -> list[str]:
    """The BLAS libraries of this process with their kernels: the same bytes are promised for one kernel only."""
    found = [pool for pool in threadpoolctl.threadpool_info() if pool["user_api"] == "blas"]
    return sorted(
        {f"{pool['internal_api']} {pool['version']} {pool.get('architecture', '')}".strip() for pool in found}
    )
