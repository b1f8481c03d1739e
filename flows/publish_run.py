"""Publish a finished run by hand, or return to an earlier one."""

from __future__ import annotations

from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Failed

from tasks.command_line import run_command
from tasks.errors import InputError
from tasks.publish import publish_by_hand


@flow(name="publish-run", flow_run_name="publish {run}")
def publish_run(*, run: str, storage: str = "store") -> str | State[Any]:
    """Make a finished run the champion, whose models recommend, whatever the gate said of it.

    Every file that its recommendations need is verified before champion.json is replaced; then the event
    playlists.published is sent, as after a run that published itself. A run that was not published when it ended has
    models that have seen four fifths of each playlist; to have them trained on all tracks, start the run again with
    publication.publish = always instead, which computes nothing else.

    Args:
        run: The run: its folder (runs/20261124T094423Z-22164b69), its id, "latest", or "previous" to roll back to the
            run that was champion before the present one, and again to go further back. The champion itself is only
            announced again.
        storage: Where its data and the pointer to the champion are: a folder, or gs://bucket/prefix.
    """
    try:
        return publish_by_hand(storage, run)
    except InputError as error:
        return Failed(message=str(error))


if __name__ == "__main__":
    run_command(publish_run)
