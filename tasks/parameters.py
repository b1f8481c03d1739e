"""What a person can set: one group per section of the form in Prefect's UI, and of the command line."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from tasks.warehouse.byte_sizes import parse_bytes

MIN_NEGATIVES = 100


class Group(BaseModel):
    """A frozen group of parameters; an unknown name is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")


def amount_of_data(value: object) -> object:
    """Text that says how much data: a plain number is taken too."""
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    if isinstance(text, str):
        parse_bytes(text)
    return text


class SampleParameters(Group):
    """Which playlists are drawn from the source."""

    n_playlists: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=506,
        description="How many playlists to draw at most. More take longer; the number found is reported.",
    )
    seed: Annotated[int, Field(ge=0, le=2**53)] = Field(
        default=7,
        description="Draws other playlists and another held-out split. The same seed always draws the same.",
    )
    min_tracks: Annotated[int, Field(ge=1, le=10_000)] = Field(
        default=10,
        description="A playlist with fewer tracks that have features is not drawn. Lower admits harder playlists.",
    )
    catalogue: Literal["sample", "all"] = Field(
        default="sample",
        description='Which tracks can be recommended: those of the drawn playlists ("sample"), or every track with '
        'features in the source ("all", slower, closer to real use).',
    )
    maximum_bytes_billed: Annotated[str, BeforeValidator(amount_of_data)] = Field(
        default="100 GB",
        description='What one of the three queries on BigQuery may cost at most, such as "100 GB" or "2 TB". A query '
        "over it is refused before it costs anything. Changes no result.",
    )


class FeatureParameters(Group):
    """What the models see of a track."""

    recipe: Literal["full", "notebook"] = Field(
        default="full",
        description='"full" takes the blocks below; "notebook" repeats the notebook for comparison, whatever they say: '
        "min-max audio alone, C = 1, threshold 0.5.",
    )
    audio: Literal["spline", "minmax", "standard", "none"] = Field(
        default="spline",
        description='How audio enters: "spline" bends (best), "minmax" and "standard" scale, "none" leaves it out.',
    )
    embeddings: Annotated[int, Field(ge=0, le=256)] = Field(
        default=32,
        description="Dimensions of the artist and of the album vectors; 0 leaves them out. More is better and slower.",
    )
    catalogue: bool = Field(default=True, description="Whether the number of tracks of artist and album enters.")
    affinity: bool = Field(
        default=True,
        description="Whether it counts how many of the playlist's own tracks share artist and album.",
    )

    @model_validator(mode="after")
    def _leave_something(self) -> FeatureParameters:
        if not (self.recipe == "notebook" or self.audio != "none" or self.embeddings or self.catalogue):
            raise ValueError("audio, embeddings and catalogue are all left out: models need at least one of them")
        return self

    def blocks(self) -> dict[str, Any]:
        """The blocks as plain values, with the recipe applied."""
        if self.recipe == "notebook":
            return {"audio": "minmax", "embeddings": 0, "catalogue": False, "affinity": False}
        return self.model_dump(exclude={"recipe"})


def none_or_enough(n_negatives: int) -> int:
    """A sample of negatives that is too small leaves playlists without any."""
    if 0 < n_negatives < MIN_NEGATIVES:
        raise ValueError(f"must be 0 or at least {MIN_NEGATIVES}")
    return n_negatives


class TrainingParameters(Group):
    """How models are fitted."""

    batch_size: Annotated[int, Field(ge=0, le=100_000)] = Field(
        default=0,
        description="Playlists per task, the grain of resuming; 0 chooses. Lower loses less when interrupted, higher "
        "has less overhead.",
    )
    regularization: Annotated[
        tuple[Annotated[float, Field(gt=0, le=1e6, allow_inf_nan=False)], ...], Field(min_length=1, max_length=20)
    ] = Field(
        default=(0.3,),
        description="scikit-learn's C. Lower keeps coefficients smaller, higher follows the train tracks closer. "
        "Of several, the one that ranks the inner fold best is taken for all playlists.",
    )
    n_negatives: Annotated[int, Field(ge=0, le=10_000_000), AfterValidator(none_or_enough)] = Field(
        default=0,
        description="How many tracks stand for all negatives; 0 takes all. A few thousand make large samples fast, "
        "at a small loss.",
    )
    max_failed_fraction: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=0.05,
        description="The run fails if a larger part of the trainable playlists gets no converged model.",
    )
    refit: bool = Field(
        default=True,
        description="Whether a run that is published trains its models again on all tracks, held-out ones included. "
        "Otherwise the evaluated ones are published: sooner, but they have seen four fifths of each playlist.",
    )


class EvaluationParameters(Group):
    """How models are judged."""

    n_playlists: Annotated[int, Field(ge=1, le=10_000_000)] = Field(
        default=10_000,
        description="About how many playlists are evaluated, the same ones every time. More are slower and surer.",
    )


class PublicationParameters(Group):
    """When a run becomes the champion, whose models recommend."""

    publish: Literal["if_not_worse", "always", "never"] = Field(
        default="if_not_worse",
        description='"if_not_worse" publishes unless the run is clearly worse than the champion: what its models gain '
        'over "same artist + album" is compared. "always" does not mind, "never" only trains and reports.',
    )
    tolerance: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=0.0,
        description="How much NDCG@500 may clearly be lost. Higher publishes more: 0.01 lets a run pass that is "
        "a hundredth worse. 0 keeps back whatever is clearly worse.",
    )
    min_coverage: Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)] = Field(
        default=0.9,
        description="A run that has models for a smaller share of the champion's number of playlists is kept back, "
        "however good they are. Lower publishes smaller runs too; 0 does not count.",
    )


class ComputeParameters(Group):
    """How much of the machine is used; changes no result."""

    workers: Annotated[int, Field(ge=0, le=256)] = Field(
        default=0,
        description="Tasks that run at the same time; 0 takes one per processor.",
    )


Column = Annotated[str, Field(min_length=1, max_length=300)]


class ColumnParameters(Group):
    """What the columns of a CSV or Parquet file to be loaded are called; a slice needs none of it."""

    unique_pid: Column = Field(default="unique_pid", description="Column of the playlists with the playlist's id.")
    track_uri: Column = Field(
        default="track_uri", description="Column of the playlists with the track's id: spotify:track:… or the id alone."
    )
    artist_name: Column = Field(default="artist_name", description="Column of the playlists with the track's artist.")
    track_name: Column = Field(default="track_name", description="Column of the playlists with the track's title.")
    album_name: Column = Field(default="album_name", description="Column of the playlists with the track's album.")
    trackid: Column = Field(default="trackid", description="Column of the tracks with the track's id, either way.")


class LoadingParameters(Group):
    """What is tolerated of the files to be loaded."""

    max_bad_files: Annotated[int, Field(ge=0, le=1_000_000)] = Field(
        default=0,
        description="How many files may be unreadable (cut short, another shape); more, and nothing is loaded.",
    )
