"""The tracks that each playlist's model would add to it."""

from __future__ import annotations

import os
from typing import Annotated, Any

from prefect import flow
from prefect.artifacts import create_markdown_artifact
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from tasks.command_line import run_command
from tasks.errors import InputError
from tasks.explain_playlist import explain_playlist
from tasks.lifecycle import execute_run
from tasks.load_recommendations import load_recommendations
from tasks.parameters import ComputeParameters
from tasks.past_runs import ModelRun, find_models, require_runs
from tasks.playlist_view import as_markdown, as_table
from tasks.recommend import find_model_run, recommend_batch
from tasks.recommendation_run import close_recommendations
from tasks.runs import Run
from tasks.storage import Storage
from tasks.warehouse.bigquery_address import parse_table

MANY, FEW = 500, 20  # tracks of every playlist, and of one that is shown


@flow(name="recommend-tracks", flow_run_name="recommend tracks from {run}")
def recommend_tracks(
    *,
    storage: str = "store",
    run: str = "champion",
    top: Annotated[int, Field(ge=0, le=100_000)] = 0,
    playlist: str = "",
    destination: str = "",
    compute: ComputeParameters = ComputeParameters(),
    fresh: bool = False,
) -> str | State[Any]:
    """Recommend the tracks that each playlist's model ranks highest and that are not in the playlist.

    Args:
        storage: Where the models are, and where recommendations are kept.
        run: Whose models: "champion", "latest", or the folder or id of a run of train-playlists.
        top: How many tracks per playlist; 0 takes 500, or 20 of a single one.
        playlist: The id of a playlist, to be told what its model would add and why; nothing is written then.
        destination: A BigQuery table to replace by the recommendations, bigquery://project/dataset/table?location=EU.
        compute: How much of the machine is used.
        fresh: Compute everything again, whatever is in the storage.
    """
    if playlist and destination:
        return Failed(message=f"playlist {playlist!r} is only shown: leave out the destination, or the playlist.")
    if playlist:
        return show_playlist(storage, run, playlist, top or FEW)
    try:
        require_runs(storage)
    except InputError as error:
        return Failed(message=str(error))
    return execute_run(
        lambda stages: recommend_all(stages, storage, run, top or MANY, destination),
        storage=storage,
        parameters={"run": run, "top": top or MANY, "destination": destination},
        workers=compute.workers or os.cpu_count() or 1,
        fresh=fresh,
        close=close_recommendations,
    )


def show_playlist(storage: str, run: str, playlist_id: str, top: int) -> str | State[Any]:
    """What the model of one playlist would add, as text for the terminal, and as an artifact."""
    try:
        explained = explain_playlist(storage, find_models(Storage(storage), run), playlist_id, top)
    except InputError as error:
        return Failed(message=str(error))
    except OSError as error:
        return Failed(message=f"storage {storage!r} cannot be read ({error.strerror or error}).")
    create_markdown_artifact(as_markdown(explained), key="playlist", description="What its model would add, and why")
    return as_table(explained)


def recommend_all(stages: Run, storage: str, run: str, top: int, destination: str) -> None:
    """Find the models, recommend from them batch by batch, and load the recommendations if there is a destination."""
    if destination:
        parse_table(destination)  # before anything is computed
    models: ModelRun = stages.one(find_model_run, storage=storage, run=run)
    served = models.served
    stages.progress.expect(len(served.models))
    batches = stages.each(
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
    if destination:
        stages.one(load_recommendations, storage=storage, batches=batches, destination=destination)


if __name__ == "__main__":
    run_command(recommend_tracks)
