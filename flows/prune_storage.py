"""Delete what no kept run refers to."""

from __future__ import annotations

from typing import Annotated, Any

from prefect import flow, runtime
from prefect.client.schemas.objects import State
from prefect.states import Failed
from pydantic import Field

from tasks.command_line import run_command
from tasks.errors import InputError
from tasks.lifecycle import execute_run
from tasks.past_runs import require_runs
from tasks.prune import prune_files
from tasks.prune_run import close_pruning


@flow(name="prune-storage", flow_run_name="prune {storage}, keep {keep} runs of each flow")
def prune_storage(
    *,
    storage: str = "store",
    keep: Annotated[int, Field(ge=1, le=100_000)] = 10,
    unfinished_hours: Annotated[float, Field(ge=0, le=100_000)] = 24.0,
    delete: bool = False,
) -> str | State[Any]:
    """Say what could be deleted of a storage, and with `delete` do it: whatever no kept run refers to.

    Kept are the last runs of each flow, the champion and all that were champion before, and the models from which kept
    recommendations were made. A run with the parameters of a kept one finds everything that it would reuse.

    Args:
        storage: The storage to prune.
        keep: How many completed runs of each flow are kept, the last ones; of failed ones in between, as many at most.
        unfinished_hours: How old a run without a manifest, or a temporary file, must be to count as left behind. While
            there is a younger one, nothing is deleted.
        delete: Really delete; without it nothing is deleted, and only said what would be.
    """
    try:
        require_runs(storage)
    except InputError as error:
        return Failed(message=str(error))
    parameters = {"keep": keep, "unfinished_hours": unfinished_hours, "delete": delete}
    return execute_run(
        lambda run: run.one(prune_files, storage=storage, run_id=str(runtime.flow_run.id), **parameters),
        storage=storage,
        parameters=parameters,
        workers=1,
        fresh=False,
        close=close_pruning,
    )


if __name__ == "__main__":
    run_command(prune_storage)
