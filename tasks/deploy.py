"""What deployments/ describes, on the Prefect server that PREFECT_API_URL names: `python -m tasks.deploy`.

Run it from the folder of the checkout. It may be repeated: what is there already is updated, not made twice.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from pathlib import Path
from typing import Any, Literal

import yaml
from prefect import get_client
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.actions import WorkPoolCreate
from prefect.events.schemas.automations import AutomationCore, EventTrigger
from prefect.exceptions import ObjectNotFound, PrefectHTTPStatusError
from prefect.settings import PREFECT_API_URL
from prefect.workers.process import ProcessWorker
from pydantic import ValidationError

from tasks.errors import InputError, first_fault
from tasks.server import answers

DEPLOYMENTS = Path("deployments/prefect.yaml")
AUTOMATIONS = Path("deployments/automations.yaml")
WORK_POOL = "playlists"

Outcome = Literal["created", "updated", "unchanged"]


class MissingBlockError(Exception):
    """An automation names a block that the server does not have."""


def deploy() -> None:
    """Create or update work pool, deployments and automations, and say what became of each.

    Raises InputError if no server answers, if it wants other credentials, or if a file is not as it should be.
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
        if error.response.status_code not in (401, 403):
            raise
        raise InputError(
            f"the Prefect server at {api_url} refuses PREFECT_API_AUTH_STRING: set it to the server's user:password."
        ) from error
    print(f"{api_url.removesuffix('/api')}/deployments shows them; a worker (make worker) executes:")
    print(f"  PREFECT_API_URL={api_url} .venv/bin/prefect deployment run train-playlists/manual --watch")


async def _deploy() -> None:
    async with get_client() as client:
        print(f"work pool {WORK_POOL}: {await create_work_pool(client)}")
        deploy_flows()
        for entry in read_automations(AUTOMATIONS):
            try:
                outcome: str = await apply_automation(client, entry)
            except MissingBlockError as error:
                outcome = f"left out, because there is no block {error}: see deployments/README.md"
            print(f"automation {entry['name']!r}: {outcome}")


async def create_work_pool(client: PrefectClient) -> Outcome:
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
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)  # noqa: S603  # no word is a stranger's
    if done.returncode:
        raise InputError(f"{DEPLOYMENTS} cannot be deployed: {' '.join((done.stderr or done.stdout).split())}")
    for entry in yaml.safe_load(DEPLOYMENTS.read_text())["deployments"]:
        print(f"deployment {entry['entrypoint'].split(':')[1].replace('_', '-')}/{entry['name']}: deployed")


def read_automations(path: Path) -> list[dict[str, Any]]:
    """The automations of a file as they are written there; raises InputError if it does not list any."""
    try:
        entries: list[dict[str, Any]] = yaml.safe_load(path.read_text())["automations"]
        for entry in entries:
            entry["name"], entry["trigger"], entry["actions"]
    except (OSError, yaml.YAMLError, TypeError, KeyError) as error:
        raise InputError(f"{path} does not list automations ({' '.join(str(error).split())}): correct it.") from error
    return entries


async def apply_automation(client: PrefectClient, entry: dict[str, Any]) -> Outcome:
    """Create an automation, or update the one of its name if that is different.

    Raises MissingBlockError if it names a block that is not there, InputError if Prefect does not understand it.
    """
    actions = [await _resolve(client, action) for action in entry["actions"]]
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
    unknown = set(entry) - set(AutomationCore.model_fields) | set(entry["trigger"]) - set(EventTrigger.model_fields)
    if unknown:
        raise InputError(f"automation {entry['name']!r} has unknown fields: {', '.join(sorted(unknown))}.")
    try:
        return AutomationCore.model_validate(entry)
    except ValidationError as error:
        raise InputError(f"automation {entry['name']!r} has a mistake ({first_fault(error)}).") from error


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
