"""Publication: the pointer to the champion is moved, and Prefect's server is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from prefect.context import FlowRunContext
from prefect.events import emit_event

from tasks.champion import Champion, Decision, Publication, update_champion
from tasks.errors import InputError
from tasks.files import DamagedFileError
from tasks.gate import Rule, judge
from tasks.manifest import Manifest
from tasks.past_runs import ModelRun, find_models, verify_served
from tasks.storage import Storage

EVENT = "playlists.published"
RESOURCE = "playlist-models.champion"
PREVIOUS = "previous"


def publish_if_decided(manifest: Manifest, store: Storage, leave: Callable[[Manifest], Manifest]) -> Manifest:
    """Move the pointer to a run whose manifest and report are written, if the gate said so; returns its manifest.

    leave: writes manifest and report again. The order is: decide, report, manifest, pointer, event. So the pointer
    never names a run that is not whole, and nobody is called before it can be followed. A run killed before the pointer
    moved is not published, whatever its manifest says was decided: the next one decides anew and publishes. One killed
    between pointer and event is published, and flows.publish_run announces it. If another run was published since the
    decision, one that was to be published is judged against that; one that was not stays so. What recommendations need
    is verified last of all: a file that is gone fails the run.
    """

    def propose(champion: Champion | None) -> Publication | None:
        nonlocal manifest
        decision, current = manifest.decision, champion and champion.current.run
        if decision is not None and decision.champion != current:
            decision = judge(store, manifest.files, manifest.models, champion, _rule(manifest))
            manifest = leave(manifest.model_copy(update={"decision": decision}))
        if manifest.status == "failed" or decision is None or decision.verdict != "publish":
            return None
        if manifest.served is None:
            raise InputError("it left no models.")
        verify_served(store, manifest.folder, manifest.served)
        return _publication(manifest.folder, manifest.run_id, decision)

    if manifest.decision is None or manifest.decision.verdict != "publish":
        return manifest
    try:
        if update_champion(store, propose):
            _announce(store, manifest.folder, manifest.run_id)
    except (OSError, InputError, DamagedFileError) as error:
        return leave(manifest.failed(f"the run cannot be published: {error}"))
    return manifest


def _rule(manifest: Manifest) -> Rule:
    return Rule(**manifest.parameters["publication"], refit=manifest.parameters["training"]["refit"])


def publish_by_hand(storage: str, run: str) -> str:
    """Make a completed run the champion, whatever the gate said of it; returns what was done, in a sentence.

    run: what `find_models` understands, or "previous" for the run that the present champion replaced. The champion
    itself is only announced again. Raises InputError, and changes nothing, if there is no such run, if it failed, or if
    a file that recommendations need is missing or damaged. Files that are deleted while the pointer moves are noticed
    after it: then the pointer has moved, nobody is told, and the InputError says so.
    """
    store = Storage(storage)
    found: list[ModelRun] = []

    def propose(champion: Champion | None) -> Publication | None:
        found[:] = [find_models(store, _previous(store, champion) if run == PREVIOUS else run)]
        folder, current = found[0].folder, champion and champion.current.run
        verify_served(store, folder, found[0].served)
        if current == folder:
            return None
        return _publication(
            folder, found[0].run_id, Decision(verdict="publish", sentence="Published by hand.", champion=current)
        )

    try:
        moved = update_champion(store, propose)
        if moved:
            _verify_again(store, found[0])
    except OSError as error:
        raise InputError(f"storage {storage!r} cannot be used ({error.strerror or error}).") from error
    folder = found[0].folder
    _announce(store, folder, found[0].run_id, is_by_hand=True)
    return f"{folder} is the champion now." if moved else f"{folder} is the champion already; it was announced again."


def _previous(store: Storage, champion: Champion | None) -> str:
    previous = champion.previous() if champion else None
    if previous is None:
        raise InputError(f"no run was published in storage {store.uri!r} before the present champion.")
    return previous


def _verify_again(store: Storage, run: ModelRun) -> None:
    """Raise InputError if prune-storage deleted something of a run while it became the champion."""
    try:
        find_models(store, run.folder)
        verify_served(store, run.folder, run.served)
    except InputError as error:
        raise InputError(
            f"{run.folder} is the champion now, but was deleted from at the same time: publish another run until it is "
            f"whole again. ({error})"
        ) from error


def _publication(run: str, run_id: str, decision: Decision) -> Publication:
    return Publication(run=run, run_id=run_id, published=datetime.now(UTC), decision=decision)


def _announce(store: Storage, run: str, run_id: str, *, is_by_hand: bool = False) -> None:
    """Tell Prefect's server that a run is the champion: automations start from here what computes from its models.

    The label published_by lets them tell whose wish it was: "hand" is publish_run, "deployment" a run of a deployment,
    "command" one that somebody started beside them, on a machine whose storage no worker may know. A local storage is
    named by its absolute path: who hears of it stands in another folder.
    """
    context = FlowRunContext.get()
    is_deployed = context is not None and context.flow_run is not None and context.flow_run.deployment_id is not None
    published_by = "hand" if is_by_hand else "deployment" if is_deployed else "command"
    storage = store.uri if "://" in store.uri else str(Path(store.uri).expanduser().absolute())
    about = {"storage": storage, "run": run, "run_id": run_id}
    resource = {"prefect.resource.id": RESOURCE, "prefect.resource.name": "champion", "published_by": published_by}
    emit_event(event=EVENT, resource=resource | about, payload=about)
