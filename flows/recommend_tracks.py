"""The tracks that each playlist's model would add to it."""

from __future__ import annotations

import os
from typing import Annotated, Any

from prefect import flow
from prefect.client.schemas.objects import State
from pydantic import Field

from tasks.command_line import run_command
from tasks.lifecycle import execute_run
from tasks.parameters import ComputeParameters
from tasks.past_runs import ModelRun
from tasks.recommend import find_model_run, recommend_batch
from tasks.recommendation_run import close_recommendations
from tasks.runs import Run

DEFAULT_TOP = 500


@flow(name="recommend-tracks", flow_run_name="recommend tracks from {run}")
def recommend_tracks(
    *,
    storage: str = "store",
    run: str = "champion",
    top: Annotated[int, Field(ge=0, le=100_000)] = 0,
    compute: ComputeParameters = ComputeParameters(),
    fresh: bool = False,
) -> str | State[Any]:
    """Recommend the tracks that each playlist's model ranks highest and that are not in the playlist.

    Args:
        storage: Where the models are, and where recommendations are kept.
        run: Whose models: "champion", "latest", or the folder or id of a run of train-playlists.
        top: How many tracks per playlist; 0 takes 500.
        compute: How much of the machine is used.
        fresh: Compute everything again, whatever is in the storage.
    """
    parameters = {"run": run, "top": top or DEFAULT_TOP}
    return execute_run(
        lambda stages: recommend_all(stages, storage, **parameters),
        storage=storage,
        parameters=parameters,
        workers=compute.workers or os.cpu_count() or 1,
        fresh=fresh,
        close=close_recommendations,
    )


def recommend_all(stages: Run, storage: str, run: str, top: int) -> None:
    """Find the models, and recommend from them batch by batch."""
    models: ModelRun = stages.one(find_model_run, storage=storage, run=run)
    served = models.served
    stages.progress.expect(len(served.models))
    stages.each(
        recommend_batch,
        {"batch": served.preparation.batches, "models": served.models},
        storage=storage,
        features=served.features,
        memberships=served.preparation.memberships,
        tracks=served.tracks,
        counts=served.preparation.tracks,
        trained_on=served.fold,
        top=top,
    )


if __name__ == "__main__":
    run_command(recommend_tracks)
