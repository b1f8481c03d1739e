"""What travels between tasks: small frozen models of plain values. Nothing else may stand in a checkpoint."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

FilePath = Annotated[str, Field(pattern=r"^data/[a-z_]+/[0-9a-f]{64}\.parquet$")]
Hex = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Reference(BaseModel):
    """Base of everything a task may return: closed (no unknown fields) and immutable."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True)


class FileRef(Reference):
    """A Parquet file named by its content.

    path: relative to the storage root. size: bytes. sha256: of the bytes, names the file and enters keys. crc32c:
    base64 of the big-endian checksum, as Google Cloud Storage reports it, so that a remote check needs no download.
    """

    kind: Literal["file"] = "file"
    path: FilePath
    size: int
    sha256: Hex
    crc32c: str
    rows: int


class Extract(Reference):
    """One extract of the sample.

    bytes_processed: what the warehouse said that the query would be billed for when it was made; None if nothing is.
    """

    kind: Literal["extract"] = "extract"
    file: FileRef
    bytes_processed: int | None


class Snapshot(Reference):
    """The state of a source: two snapshots are equal exactly if the source holds the same data.

    tables: per table what identifies its content (a digest, or the warehouse's own version).
    """

    kind: Literal["snapshot"] = "snapshot"
    tables: dict[str, str]


class Census(Reference):
    """The notebook's first cells: how large the warehouse is. bytes_processed: as of an Extract."""

    kind: Literal["census"] = "census"
    n_playlists: int
    n_memberships: int
    n_tracks: int
    n_tracks_with_features: int
    bytes_processed: int | None = None


class Preparation(Reference):
    """The sample in integer form: batch files, and per track what the folds leave of it.

    batches: columns playlist_id, track (row of the tracks file), fold. memberships: all batches as one file, with the
    playlist's number for its id. tracks: one row per extracted track, in the order of the tracks file, with its
    memberships by fold. histogram: (k, number of tracks in exactly k playlists).
    """

    kind: Literal["preparation"] = "preparation"
    batches: list[FileRef]
    memberships: FileRef
    tracks: FileRef
    n_playlists: int
    n_memberships: int
    n_tracks: int
    n_fit_tracks: int
    histogram: list[tuple[int, int]]


class FeatureMatrix(Reference):
    """What the models of one fold see.

    file: one float32 column per feature in `columns`, one row per extracted track. spaces: by kind of entity (artist,
    album), what is needed to take a membership out of its embedding. per_playlist: columns that differ from playlist to
    playlist and are computed where they are used. dropped: what did not enter, with the reason.
    """

    kind: Literal["features"] = "features"
    file: FileRef
    columns: list[str]
    spaces: dict[str, FileRef]
    per_playlist: list[str]
    dropped: dict[str, str]


class Served(Reference):
    """Everything that recommendations are computed from: models, and the sample as their fold saw it.

    fold: what the models were trained on ("all": every membership; "outer": without the held-out ones). models: one
    file per batch of the preparation, in its order.
    """

    kind: Literal["served"] = "served"
    tracks: FileRef
    preparation: Preparation
    fold: Literal["outer", "all"]
    features: FeatureMatrix
    models: list[FileRef]


class Validation(Reference):
    """How one batch does on the inner fold, per recommender: own thresholds by playlist, and a histogram of scores.

    thresholds: columns playlist_id, recommender, threshold, quality (how well the inner fold is ranked). histogram:
    recommender, bin, n_positive, n_all (bins with counts only).
    """

    kind: Literal["validation"] = "validation"
    thresholds: FileRef
    histogram: FileRef


class Regularization(Reference):
    """The C that was chosen on the inner fold, and the mean quality of each candidate."""

    kind: Literal["regularization"] = "regularization"
    chosen: float
    quality: dict[str, float | None]


class Evaluation(Reference):
    """How one batch does on the held-out tracks.

    metrics: one row per playlist and recommender. calibration: bin, n_held_out, n_candidates of the models' logits,
    over the batch's playlists with a model and a held-out track (tasks/ml/thresholds.py; bins with counts only).
    """

    kind: Literal["evaluation"] = "evaluation"
    metrics: FileRef
    calibration: FileRef


class Distribution(Reference):
    """How one metric is distributed over playlists; None where no playlist has a value.

    n: playlists with a value. n_excluded: playlists for which the metric is not defined (nothing held out).
    """

    mean: float | None
    std: float | None
    q10: float | None
    q25: float | None
    median: float | None
    q75: float | None
    q90: float | None
    n: int
    n_excluded: int


class Summary(Reference):
    """All models and all metrics of a run, and their distributions: metrics[recommender][metric]."""

    kind: Literal["summary"] = "summary"
    models: FileRef
    metrics_file: FileRef
    models_by_status: dict[str, int]
    metrics: dict[str, dict[str, Distribution]]


class ModelCounts(Reference):
    """How many playlists have a model, and how many have none and why."""

    kind: Literal["model_counts"] = "model_counts"
    by_status: dict[str, int]


class Explanation(Reference):
    """What the report shows beyond metrics.

    examples: the playlists on which the models do best and worst, with a few tracks of each. reliability: predicted and
    observed membership by bins of the logit, pooled. contributions: by playlist and group of features, how much the
    group moves the scores. brier: the Brier score over all candidates of all evaluated playlists with a model;
    base_rate: the share of them that is held out. None if there is no such candidate.
    """

    kind: Literal["explanation"] = "explanation"
    examples: FileRef
    reliability: FileRef
    contributions: FileRef
    brier: float | None
    base_rate: float | None


class Recommendations(Reference):
    """What the models of one batch would add.

    file: columns playlist_id, rank (from 1), track_id, score, sorted by the first two. playlists_by_status: how many
    playlists have a model, and how many have none for which reason (tasks/ml/statuses.py).
    """

    kind: Literal["recommendations"] = "recommendations"
    file: FileRef
    playlists_by_status: dict[str, int]


def files_in(value: object) -> list[FileRef]:
    """Every file that a task's result refers to, wherever it sits."""
    if isinstance(value, FileRef):
        return [value]
    if isinstance(value, Reference):
        return files_in([getattr(value, name) for name in type(value).model_fields])
    if isinstance(value, (list, tuple)):
        return [file for item in value for file in files_in(item)]
    if isinstance(value, dict):
        return files_in(list(value.values()))
    return []
