"""Deployments, automations and a worker as an operator meets them."""

from __future__ import annotations

import http.server
import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import anyio
import httpx
import pytest
import yaml
from prefect import get_client
from prefect.blocks.notifications import CustomWebhookNotificationBlock
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId
from prefect.client.schemas.objects import FlowRun
from prefect.events.schemas.automations import Automation

from flows.publish_run import publish_run
from tasks.deploy import AUTOMATIONS, DEPLOYMENTS, apply_automation, read_automations
from tasks.parameters import TrainingParameters
from tasks.publish import EVENT
from tests.conftest import ROOT, RunFlow, data_files, manifest_of
from tests.integration.platform import Platform, deploy, prefect, repeat_until, three_times, wait_for
from tests.integration.processes import n_records

NAMES = [
    "prune-storage/manual",
    "publish-run/manual",
    "recommend-tracks/after-training",
    "recommend-tracks/manual",
    "train-playlists/manual",
    "train-playlists/resume",
    "train-playlists/weekly",
]


def entry(word: str) -> dict[str, Any]:
    """The automation of the file whose name has this word."""
    (found,) = [entry for entry in read_automations(ROOT / AUTOMATIONS) if word in entry["name"]]
    return found


def apply(automation: dict[str, Any]) -> str:
    async def call() -> str:
        async with get_client() as client:
            return await apply_automation(client, automation)

    return anyio.run(call)


def require_same_files(manifest: dict[str, Any], reference: Path) -> None:
    """A run that was not published left what the reference did, but for the models of all memberships."""
    expected = manifest_of(reference)["files"]
    assert manifest["files"] == {stage: files for stage, files in expected.items() if not stage.endswith("_all")}


def manifests(storage: Path) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted(storage.glob("runs/*/manifest.json"))]


def kill_when_trained(platform: Platform, storage: Path) -> int:
    """SIGKILL to the run once a model is kept; returns how many are."""
    wait_for(lambda: n_records(storage, "train-batch"), f"a model\n{platform.log()}", 120, pause=0.003)
    platform.engine().kill()
    return n_records(storage, "train-batch")


@pytest.fixture(scope="module")
def notices(platform: Platform) -> Iterator[list[str]]:
    """What the failure notice sends: its block is a web hook here, and the file's automation names that one."""
    received: list[str] = []

    class Hook(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            received.append(self.rfile.read(int(self.headers["Content-Length"])).decode())
            self.send_response(200)
            self.end_headers()

        def log_message(self, *arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as hook:
        threading.Thread(target=hook.serve_forever, daemon=True).start()
        CustomWebhookNotificationBlock(
            name="playlists", url=f"http://127.0.0.1:{hook.server_port}/", json_data={"text": "{{subject}} | {{body}}"}
        ).save("playlists", overwrite=True)
        notice = entry("failure")
        notice["actions"][0]["block"] = "custom-webhook/playlists"
        assert apply(notice) == "created"
        yield received
        hook.shutdown()


def everything(platform: Platform) -> dict[str, Any]:
    """Pool, deployments and automations, without the times of their updates."""
    client = platform.client
    deployments = [client.read_deployment_by_name(name).model_dump(mode="json") for name in NAMES]
    for deployment in deployments:
        for schedule in deployment["schedules"]:
            del schedule["updated"]
        if deployment["global_concurrency_limit"]:
            deployment["global_concurrency_limit"] = deployment["global_concurrency_limit"]["limit"]
        for varying in ("updated", "last_polled", "status"):
            deployment.pop(varying)
    pool = client.read_work_pool("playlists")
    automations: list[Automation] = client.read_automations()
    return {
        "pool": (pool.id, pool.type, pool.base_job_template),
        "deployments": deployments,
        "automations": [automation.model_dump(mode="json", exclude={"updated"}) for automation in automations],
    }


def test_everything_is_deployed_and_a_second_time_changes_nothing(platform: Platform) -> None:
    before = everything(platform)
    done = deploy(platform.environment)
    assert done.returncode == 0, done.stderr
    assert "created" not in done.stdout and "updated" not in done.stdout
    assert done.stdout.count(": deployed") == len(NAMES)
    assert done.stdout.count(": unchanged") == 4
    assert everything(platform) == before


def test_deployments_are_what_the_file_says(platform: Platform) -> None:
    written = yaml.safe_load((ROOT / DEPLOYMENTS).read_text())["deployments"]
    names = [f"{entry['entrypoint'].split(':')[1].replace('_', '-')}/{entry['name']}" for entry in written]
    assert names == sorted(names) == NAMES
    for name, entry in zip(names, written, strict=True):
        found = platform.client.read_deployment_by_name(name)
        assert (found.tags, found.description) == (entry["tags"], entry["description"])
        assert found.work_pool_name == "playlists"
        (step,) = found.pull_steps
        assert list(step.values()) == [{"directory": "{{ $PLAYLISTS_HOME }}"}]  # each worker's own
        assert found.job_variables == {"env": {"PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30"}}
        assert found.global_concurrency_limit is not None and found.global_concurrency_limit.limit == 1
        assert found.concurrency_options is not None
        assert found.concurrency_options.collision_strategy == "ENQUEUE"


def test_the_week_starts_with_a_run(platform: Platform) -> None:
    """Mondays at four in Berlin, over the change to summer time too; no other deployment has a schedule."""
    for name in NAMES:
        schedules = platform.client.read_deployment_by_name(name).schedules
        assert len(schedules) == (name == "train-playlists/weekly"), name
    (schedule,) = platform.client.read_deployment_by_name("train-playlists/weekly").schedules
    assert schedule.active
    assert schedule.schedule.model_dump() == {"cron": "0 4 * * 1", "timezone": "Europe/Berlin", "day_or": True}
    weekly = platform.client.read_deployment_by_name("train-playlists/weekly").id
    only = DeploymentFilter(id=DeploymentFilterId(any_=[weekly]))

    def planned() -> list[FlowRun]:
        return [run for run in platform.client.read_flow_runs(deployment_filter=only) if "auto-scheduled" in run.tags]

    moments = [run.expected_start_time.astimezone(ZoneInfo("Europe/Berlin")) for run in wait_for(planned, "plans", 60)]
    assert {(moment.weekday(), moment.hour, moment.minute) for moment in moments} == {(0, 4, 0)}
    assert len(set(moments)) >= 3


@three_times
def test_a_run_from_the_command_line_completes_and_starts_recommendations(platform: Platform, reference: Path) -> None:
    storage = platform.storage("plain")
    options = [
        word
        for option in (
            f"storage={storage.name}",
            'sample={"n_playlists": 24}',
            'features={"audio": "minmax", "embeddings": 8}',
        )
        for word in ("-p", option)
    ]
    done = prefect(
        platform.environment,
        *("deployment", "run", "train-playlists/manual", "--watch", *options, "-p", 'training={"batch_size": 8}'),
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Flow run finished successfully in 'Completed'." in done.stdout
    trained, recommended = wait_for(lambda: len(found := manifests(storage)) == 2 and found, "recommendations", 60)
    assert trained["status"] == recommended["status"] == "completed"
    assert trained["decision"]["verdict"] == "publish"
    assert data_files(reference) == {name for name in data_files(storage) if "recommendations" not in name}
    assert recommended["models_of"] == trained["folder"]
    assert recommended["rows"] == 24 * 500
    started = [run.parameters for run in platform.runs("recommend-tracks/after-training")]
    assert {"storage": str(storage), "run": trained["folder"]} in started


def announced(platform: Platform, storage: Path) -> list[str]:
    """Whose wish the publications of a storage were, oldest first."""
    about = {"event": {"name": [EVENT]}, "resource": {"labels": {"storage": [str(storage)]}}, "order": "ASC"}
    answer = httpx.post(f"{platform.environment['PREFECT_API_URL']}/events/filter", json={"filter": about}, timeout=30)
    return [event["resource"]["published_by"] for event in answer.raise_for_status().json()["events"]]


def test_only_deployments_and_publish_run_start_recommendations(
    platform: Platform, storage: Path, run_flow: RunFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run on somebody's machine starts nothing; a rollback does, by the command or by its deployment.

    The storage's name counts from another folder than the worker's: what is announced is where it is.
    """
    monkeypatch.chdir(storage.parent)
    first = manifest_of(storage)["folder"]
    second = run_flow(Path(storage.name), training=TrainingParameters(batch_size=8, regularization=(0.5,)))["folder"]
    wait_for(lambda: announced(platform, storage) == ["command"], "the announcement", 60)

    def started() -> list[FlowRun]:
        runs = platform.runs("recommend-tracks/after-training")
        return [run for run in runs if run.parameters["storage"] == str(storage)]

    def published() -> set[str]:
        return {run.parameters["run"] for run in started()}

    assert publish_run(storage=storage.name, run="previous") == f"{first} is the champion now."
    repeat_until(
        lambda: publish_run(storage=storage.name, run=first), lambda: published() == {first}, "recommendations"
    )
    rollback = platform.client.read_deployment_by_name("publish-run/manual").id
    parameters = {"storage": str(storage), "run": second}
    repeat_until(
        lambda: platform.client.create_flow_run_from_deployment(rollback, parameters=parameters),
        lambda: published() == {first, second},
        "recommendations of the second",
    )
    assert set(announced(platform, storage)) == {"command", "hand"}
    for run in started():
        platform.wait(run.id, "Completed")


def test_an_automation_whose_block_is_gone_is_removed(platform: Platform) -> None:
    """Else the server would go on trying to send to it."""
    notice = entry("failure")
    notice["name"] = "playlists: to be removed"
    CustomWebhookNotificationBlock(name="gone", url="http://127.0.0.1:9/").save("gone", overwrite=True)
    notice["actions"][0]["block"] = "custom-webhook/gone"
    assert apply(notice) == "created"
    CustomWebhookNotificationBlock.delete("gone")
    assert apply(notice) == "removed, because there is no block custom-webhook/gone: see deployments/README.md"
    assert [found.name for found in platform.client.read_automations() if found.name == notice["name"]] == []
    assert apply(notice).startswith("left out, because there is no block custom-webhook/gone")


@pytest.mark.parametrize(
    ("parameter", "said"),
    [
        ('sample={"n_playlists": 0}', "Validation failed for field 'sample.n_playlists'"),
        ("bogus=1", "not found on the deployment: 'bogus'"),
    ],
)
def test_a_bad_parameter_is_refused_with_its_name(platform: Platform, parameter: str, said: str) -> None:
    done = prefect(platform.environment, "deployment", "run", "train-playlists/manual", "-p", parameter)
    assert done.returncode == 1
    assert said in " ".join(done.stdout.split())


@three_times
def test_a_killed_run_crashes_and_a_new_one_resumes(platform: Platform, notices: list[str], reference: Path) -> None:
    """The killed run is one that automations started: its crash is reported, and starts nothing again."""
    storage, n_restarted = platform.storage("killed"), len(platform.runs("train-playlists/resume"))
    run_id = platform.start("train-playlists/resume", "killed")
    n_kept = kill_when_trained(platform, storage)
    crashed = platform.wait(run_id, "Crashed")
    assert crashed.state.message.startswith("Process exited with status code: -9.")
    wait_for(lambda: [notice for notice in notices if crashed.name in notice], "the notice", 30)
    assert notices[-1].startswith('{"text":"train-playlists: Crashed | ')
    platform.wait(platform.start("train-playlists/manual", "killed"), "Completed")
    (manifest,) = manifests(storage)
    assert manifest["tasks"]["train_batch_inner"]["reused"] >= min(n_kept, 3)
    require_same_files(manifest, reference)
    assert len(platform.runs("train-playlists/resume")) == n_restarted + 1


@three_times
def test_worker_and_run_die_together_and_the_run_is_crashed_and_started_again(
    platform: Platform, notices: list[str], reference: Path
) -> None:
    impatient = entry("heartbeat")
    impatient["trigger"]["within"] = 10
    apply(impatient)
    storage = platform.storage("zombie")
    run_id = platform.start("train-playlists/weekly", "zombie")
    wait_for(lambda: n_records(storage, "train-batch"), "a model", 120, pause=0.003)
    platform.kill_worker_and_run()
    assert platform.client.read_flow_run(run_id).state_name == "Running"
    before = {run.id for run in platform.runs("train-playlists/resume")}
    crashed = platform.wait(run_id, "Crashed", 60)
    assert crashed.state.message.startswith("No heartbeat for 90 seconds: worker and run seem to be gone.")
    apply(entry("heartbeat"))  # the next run may take more than ten seconds
    started = wait_for(
        lambda: [run for run in platform.runs("train-playlists/resume") if run.id not in before], "a restart", 30
    )
    platform.start_worker()
    assert [run.parameters for run in started] == [crashed.parameters]
    platform.wait(started[0].id, "Completed")
    (manifest,) = manifests(storage)
    assert manifest["tasks"]["train_batch_inner"]["reused"] >= 1
    require_same_files(manifest, reference)
    assert any(crashed.name in notice for notice in notices)


def test_a_cancelled_run_keeps_what_it_says_it_completed(platform: Platform) -> None:
    storage = platform.storage("cancelled")
    parameters = {
        "sample": {"n_playlists": 90},
        "features": {},
        "training": {"batch_size": 3},
        "compute": {"workers": 1},
    }
    run_id = platform.start("train-playlists/manual", "cancelled", **parameters)
    wait_for(lambda: n_records(storage, "train-batch"), f"a model\n{platform.log()}", 120, pause=0.01)
    done = prefect(platform.environment, "flow-run", "cancel", str(run_id))
    assert done.returncode == 0, done.stdout
    platform.wait(run_id, "Cancelled")
    completed = [
        run.state.data.storage_key
        for run in platform.task_runs(run_id)
        if run.state_name == "Completed" and run.state.data and run.state.data.storage_key
    ]
    kept = {path.name for path in storage.glob("records/*")}
    assert len(completed) > 5
    assert set(completed) <= kept
    assert manifests(storage) == []
    platform.wait(platform.start("train-playlists/manual", "cancelled", **parameters), "Completed")
    (manifest,) = manifests(storage)
    assert manifest["tasks"]["train_batch_inner"]["reused"] == sum("train-batch" in key for key in kept)


def test_the_second_of_two_runs_waits_for_the_first(platform: Platform) -> None:
    ids = [platform.start("train-playlists/manual", "queue") for _ in range(2)]
    runs = sorted((platform.wait(run_id, "Completed") for run_id in ids), key=lambda run: run.start_time)
    assert runs[1].start_time >= runs[0].end_time
    states = [state.name for state in platform.client.read_flow_run_states(runs[1].id)]
    assert "AwaitingConcurrencySlot" in states
    assert len(manifests(platform.storage("queue"))) == 2
