"""Publication: the pointer to the champion is moved, and Prefect's server is told."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from prefect.context import FlowRunContext
from prefect.events import emit_event

from tasks.champion import RUN_FOLDER, Champion, Decision, Publication, read_champion, update_champion
from tasks.errors import InputError
from tasks.files import DamagedFileError
from tasks.gate import Rule, judge
from tasks.manifest import Manifest, read_manifest
from tasks.references import files_in
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
    decision, this one is judged against that.
    """

    def propose(champion: Champion | None) -> Publication | None:
        nonlocal manifest
        decision, current = manifest.decision, champion and champion.current.run
        if decision is not None and decision.champion != current:
            decision = judge(store, manifest.files, champion, _rule(manifest))
            manifest = leave(manifest.model_copy(update={"decision": decision}))
        if manifest.status == "failed" or decision is None or decision.verdict != "publish":
            return None
        return _publication(manifest.folder, manifest.run_id, decision)

    if manifest.decision is None or manifest.decision.verdict != "publish":
        return manifest
    try:
        if update_champion(store, propose):
            _announce(store, manifest.folder, manifest.run_id)
    except (OSError, InputError) as error:
        return leave(manifest.failed(f"the run cannot be published: {error}"))
    return manifest


def _rule(manifest: Manifest) -> Rule:
    return Rule(**manifest.parameters["publication"], refit=manifest.parameters["training"]["refit"])


def publish_by_hand(storage: str, run: str) -> str:
    """Make a finished run the champion, whatever the gate said of it; returns what was done, in a sentence.

    run: its folder, its id, or "previous" for the one that was published before the present champion. The champion
    itself is only announced again. Raises InputError, and changes nothing, if there is no such run, if it failed, or if
    a file that recommendations need is missing or damaged.
    """
    store = Storage(storage)
    try:
        folder = _find(store, run)
        manifest = read_manifest(store, folder, Manifest)
        _require_whole(store, folder, manifest)
        moved = update_champion(store, lambda champion: _by_hand(folder, manifest.run_id, champion))
    except OSError as error:
        raise InputError(f"storage {storage!r} cannot be used ({error.strerror or error}).") from error
    _announce(store, folder, manifest.run_id, is_by_hand=True)
    if not moved:
        return f"{folder} is the champion already; it was announced again."
    return f"{folder} is the champion now."


def _by_hand(folder: str, run_id: str, champion: Champion | None) -> Publication | None:
    current = champion and champion.current.run
    if current == folder:
        return None
    return _publication(folder, run_id, Decision(verdict="publish", sentence="Published by hand.", champion=current))


def _find(store: Storage, run: str) -> str:
    """The folder of a run, which is one of those that are there."""
    if run == PREVIOUS:
        champion = read_champion(store)
        if champion is None or not champion.history:
            raise InputError(f"no run was published in storage {store.uri!r} before the present champion.")
        return champion.history[0].run
    folders = {file.path.removesuffix("/manifest.json") for file in store.files.list("runs")}
    found = [folder for folder in folders if (match := RUN_FOLDER.fullmatch(folder)) and _is(run, folder, match, store)]
    if len(found) != 1:
        raise InputError(
            f"{run!r} names {len(found) or 'no'} finished run(s) of storage {store.uri!r}: give the folder below "
            "runs/, or the id, of one."
        )
    return found[0]


def _is(run: str, folder: str, match: re.Match[str], store: Storage) -> bool:
    """Whether a folder is called so, or belongs to the run of this id (or start of an id, at least 8 characters)."""
    if folder.removeprefix("runs/") == run.strip("/").removeprefix("runs/"):
        return True
    return match["id"] == run[:8] and read_manifest(store, folder, Manifest).run_id.startswith(run)


def _require_whole(store: Storage, folder: str, manifest: Manifest) -> None:
    if manifest.status != "completed":
        raise InputError(f"{folder} failed and cannot be published: {manifest.message}")
    if manifest.served is None:
        raise InputError(f"{folder} has no models that could be published.")
    try:
        for file in files_in(manifest.served):
            store.verify(file)
    except DamagedFileError as error:
        raise InputError(
            f"{folder} cannot be published ({error}): start a run with its parameters, which repairs it."
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
