"""What deployments/ describes, on the Prefect server that PREFECT_API_URL names: `python -m tasks.deploy`.

Run it from the folder of the checkout. It may be repeated: what is there already is updated, not made twice.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import yaml
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker
from pydantic import BaseModel, RootModel, ValidationError

from tasks.errors import InputError, first_fault
from tasks.server import answers

DEPLOYMENTS = Path("deployments/prefect.yaml")
AUTOMATIONS = Path("deployments/automations.yaml")
WORK_POOL = "playlists"
DEPLOY_SECONDS = 600


class MissingBlockError(Exception):
    """An automation names a block that the server does not have."""


def deploy() -> None:
    """Create or update work pool, deployments and automations, and say what became of each.

    Raises InputError if no server answers, if it wants other credentials or fails, or if a file is not as it should be.
    """
    api_url = PREFECT_API_URL.value()
    if not api_url or not answers(api_url):
        raise InputError(
            f"no Prefect server answers at PREFECT_API_URL={api_url or ''}: start one (make server) or correct the "
            "address (it ends in /api)."
        )
    try:
        asyncio.run(_deploy())
    except PrefectHTTPStatusError as error:
        raise InputError(_refusal(api_url, error.response)) from error
    except httpx.HTTPError as error:
        raise InputError(
            f"the Prefect server at {api_url} stopped answering ({error or type(error).__name__}): see its log, and "
            "make deploy again."
        ) from error
    print(f"{api_url.removesuffix('/api')}/deployments shows them; a worker (make worker) executes:")
    print(f"  PREFECT_API_URL={api_url} .venv/bin/prefect deployment run train-playlists/manual --watch")


def _refusal(api_url: str, response: httpx.Response) -> str:
    if response.status_code in (401, 403):
        return f"the Prefect server at {api_url} refuses PREFECT_API_AUTH_STRING: set it to the server's user:password."
    about = f"{response.status_code} {response.reason_phrase}"
    said = " ".join(response.text.split())[:300]
    return f"the Prefect server at {api_url} fails ({about}: {said}): see its log, and make deploy again."


async def _deploy() -> None:
    async with get_client() as client:
        print(f"work pool {WORK_POOL}: {await create_work_pool(client)}")
        deploy_flows()
        for entry in read_automations(AUTOMATIONS):
            print(f"automation {entry['name']!r}: {await apply_automation(client, entry)}")


async def create_work_pool(client: PrefectClient) -> str:
    """The pool of `make worker`, as its owner has set it if there is one."""
    try:
        await client.read_work_pool(WORK_POOL)
    except ObjectNotFound:
        template = ProcessWorker.get_default_base_job_template()
        await client.create_work_pool(
            WorkPoolCreate(name=WORK_POOL, type=ProcessWorker.type, base_job_template=template)
        )
        return "created"
    return "unchanged"


def deploy_flows() -> None:
    """All deployments of prefect.yaml, by Prefect's own command; raises InputError with its words if it fails."""
    command = [sys.executable, "-m", "prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOYMENTS)]
    # Prefect would write the value of the variable in place of its name, which is for each worker to read.
    environment = {name: value for name, value in os.environ.items() if name != "PLAYLISTS_HOME"}
    try:
        done = subprocess.run(  # noqa: S603  # no word is a stranger's
            command, env=environment, capture_output=True, text=True, timeout=DEPLOY_SECONDS
        )
    except subprocess.TimeoutExpired as error:
        raise InputError(
            f"{DEPLOYMENTS} was not deployed within {DEPLOY_SECONDS} s: see the server's log, and make deploy again."
        ) from error
    if done.returncode:
        raise InputError(f"{DEPLOYMENTS} cannot be deployed: {' '.join((done.stderr or done.stdout).split())}")
    for entry in yaml.safe_load(DEPLOYMENTS.read_text())["deployments"]:
        print(f"deployment {entry['entrypoint'].split(':')[1].replace('_', '-')}/{entry['name']}: deployed")


def read_automations(path: Path) -> list[dict[str, Any]]:
    """The automations of a file as they are written there; raises InputError if it does not list any."""
    try:
        entries: list[dict[str, Any]] = yaml.safe_load(path.read_text())["automations"]
        for entry in entries:
            entry["name"], entry["trigger"], [dict(action) for action in entry["actions"]]
    except (OSError, yaml.YAMLError, TypeError, ValueError, KeyError) as error:
        raise InputError(f"{path} does not list automations ({' '.join(str(error).split())}): correct it.") from error
    return entries


async def apply_automation(client: PrefectClient, entry: dict[str, Any]) -> str:
    """Create an automation, or update the one of its name if that is different; returns what became of it.

    One that names a block that is not there is left out, and taken off the server, where it could only fail. Raises
    InputError if Prefect does not understand it.
    """
    try:
        actions = [await _resolve(client, action) for action in entry["actions"]]
    except MissingBlockError as error:
        return f"{await _remove(client, entry['name'])}, because there is no block {error}: see deployments/README.md"
    wanted = check_automation(entry | {"actions": actions})
    found = await client.read_automations_by_name(wanted.name)
    if not found:
        await client.create_automation(wanted)
        return "created"
    if _content(found[0]) == _content(wanted):
        return "unchanged"
    await client.update_automation(found[0].id, wanted)
    return "updated"


def check_automation(entry: dict[str, Any]) -> AutomationCore:
    """An automation as Prefect reads it; raises InputError for what it would refuse, or silently leave out."""
    try:
        automation = AutomationCore.model_validate(entry)
    except ValidationError as error:
        raise InputError(f"automation {entry['name']!r} has a mistake ({first_fault(error)}).") from error
    if unknown := sorted(_unknown(entry, automation)):
        raise InputError(f"automation {entry['name']!r} has unknown fields: {', '.join(unknown)}.")
    return automation


def _unknown(written: Any, read: Any, place: str = "") -> Iterator[str]:
    """Where something is written that Prefect did not read, in every trigger and action."""
    if isinstance(read, list):
        for i, (part, understood) in enumerate(zip(written, read, strict=True)):
            yield from _unknown(part, understood, f"{place}{i}.")
    elif isinstance(read, BaseModel) and not isinstance(read, RootModel):
        for name, part in written.items():
            if name not in type(read).model_fields:
                yield f"{place}{name}"
            else:
                yield from _unknown(part, getattr(read, name), f"{place}{name}.")


async def _remove(client: PrefectClient, name: str) -> str:
    found = await client.read_automations_by_name(name)
    for automation in found:
        await client.delete_automation(automation.id)
    return "removed" if found else "left out"


def _content(automation: AutomationCore) -> dict[str, Any]:
    return automation.model_dump(mode="json", include=set(AutomationCore.model_fields))


async def _resolve(client: PrefectClient, action: dict[str, Any]) -> dict[str, Any]:
    """The action with ids instead of names."""
    action = dict(action)
    if name := action.pop("deployment", None):
        try:
            deployment = await client.read_deployment_by_name(name)
        except ObjectNotFound as error:
            raise InputError(f"{AUTOMATIONS} names the deployment {name!r}, which {DEPLOYMENTS} lacks.") from error
        action["deployment_id"] = str(deployment.id)
    if slug := action.pop("block", None):
        kind, _, name = slug.partition("/")
        try:
            block = await client.read_block_document_by_name(name, kind)
        except ObjectNotFound as error:
            raise MissingBlockError(slug) from error
        action["block_document_id"] = str(block.id)
    return action


if __name__ == "__main__":
    try:
        deploy()
    except InputError as error:
        sys.exit(str(error))
