"""The closed set of what a checkpoint may hold. Whatever is not in it is neither written nor read."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from tasks.load_references import InputFiles, LoadedPart, Matches
from tasks.references import (
    Census,
    Evaluation,
    Explanation,
    Extract,
    FeatureMatrix,
    FileRef,
    ModelCounts,
    Preparation,
    Recommendations,
    Regularization,
    Served,
    Snapshot,
    Summary,
    Validation,
)

Result = Annotated[
    FileRef
    | Extract
    | Snapshot
    | Census
    | Preparation
    | FeatureMatrix
    | Validation
    | Regularization
    | Served
    | Evaluation
    | Summary
    | ModelCounts
    | Explanation
    | Recommendations
    | InputFiles
    | LoadedPart
    | Matches,
    Field(discriminator="kind"),
]
