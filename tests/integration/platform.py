"""Everything deployed on a real server, and a process worker that can die: how the pipeline is operated."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from uuid import UUID

import psutil
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import DeploymentFilter, DeploymentFilterId, FlowRunFilter, FlowRunFilterId
from prefect.client.schemas.objects import FlowRun, TaskRun
from prefect.states import Crashed

from tests.conftest import ROOT

T = TypeVar("T")

ROOMS = ("flows", "tasks", "deployments")
SMALL: dict[str, Any] = {
    "sample": {"n_playlists": 24},
    "features": {"audio": "minmax", "embeddings": 8},
    "training": {"batch_size": 8},
    "publication": {"publish": "never"},  # else each run starts another one, which recommends
}


def prefect(environment: dict[str, str], *arguments: str) -> subprocess.CompletedProcess[str]:
    """Prefect's command line, as a person uses it."""
    return subprocess.run(
        [sys.executable, "-m", "prefect", *arguments],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=180,
    )


def deploy(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """What `make deploy` runs."""
    return subprocess.run(
        [sys.executable, "-m", "tasks.deploy"],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=180,
    )


class Platform:
    """A checkout to work in (the rooms are links, so that storage stays out of the real one), server and worker."""

    def __init__(self, environment: dict[str, str], home: Path, client: SyncPrefectClient) -> None:
        self.environment, self.home, self.client = environment, home, client
        home.mkdir()
        for room in ROOMS:
            (home / room).symlink_to(ROOT / room)
        self._worker: psutil.Popen | None = None
        self.attempt = 0

    def start_worker(self) -> None:
        """As `make worker` does, but from another folder: only PLAYLISTS_HOME may say where the code is."""
        with (self.home / "worker.log").open("a") as log:
            self._worker = psutil.Popen(
                [sys.executable, "-m", "prefect", "worker", "start", "--pool", "playlists", "--type", "process"],
                cwd=self.home.parent,
                env=os.environ
                | self.environment
                | {"PLAYLISTS_HOME": str(self.home), "PREFECT_WORKER_QUERY_SECONDS": "1"},
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def engine(self) -> psutil.Process:
        """The process of the only run that the worker executes."""
        assert self._worker is not None
        (engine,) = [child for child in self._worker.children() if "prefect.engine" in child.cmdline()]
        return engine

    def kill_worker_and_run(self) -> None:
        """SIGKILL to both, the worker first: it could report the other's death."""
        assert self._worker is not None
        processes = [self._worker, *self._worker.children(recursive=True)]
        for process in processes:
            process.kill()
        psutil.wait_procs(processes, timeout=30)
        self._worker = None

    def try_again(self) -> None:
        """With other storages, a worker, and no run that holds a place in a queue."""
        self.attempt += 1
        for deployment in ("manual", "resume", "weekly"):
            for run in self.runs(f"train-playlists/{deployment}"):
                if run.state is not None and not run.state.is_final():
                    self.client.set_flow_run_state(run.id, Crashed(message="given up by a test"), force=True)
        if self._worker is None:
            self.start_worker()

    def stop(self) -> None:
        """End the worker and what it runs."""
        if self._worker is not None:
            self.kill_worker_and_run()

    def start(self, deployment: str, storage: str, **parameters: Any) -> UUID:
        """Start a run of a deployment on a small sample."""
        chosen = SMALL | {"storage": self.storage(storage).name} | parameters
        found = self.client.read_deployment_by_name(deployment)
        return self.client.create_flow_run_from_deployment(found.id, parameters=chosen).id

    def storage(self, name: str) -> Path:
        return self.home / f"{name}{self.attempt or ''}"

    def wait(self, run_id: UUID, state: str, seconds: float = 150) -> FlowRun:
        """The run once it is in a state; fails if it ends in another one."""

        def reached() -> FlowRun | None:
            run = self.client.read_flow_run(run_id)
            assert run.state is not None
            if run.state.name == state:
                return run
            assert not run.state.is_final(), f"{run.state.name}: {run.state.message}\n{self.log()}"
            return None

        return wait_for(reached, f"{state} of {run_id}", seconds)

    def runs(self, deployment: str) -> list[FlowRun]:
        found = self.client.read_deployment_by_name(deployment)
        only = DeploymentFilter(id=DeploymentFilterId(any_=[found.id]))
        return [run for run in self.client.read_flow_runs(deployment_filter=only) if "auto-scheduled" not in run.tags]

    def task_runs(self, run_id: UUID) -> list[TaskRun]:
        return self.client.read_task_runs(flow_run_filter=FlowRunFilter(id=FlowRunFilterId(any_=[run_id])), limit=200)

    def log(self) -> str:
        return (self.home / "worker.log").read_text()[-3000:]


def three_times(test: Callable[..., None]) -> Callable[..., None]:
    """A test of an automation, tried up to three times.

    Prefect's server loses an event now and then while it writes to SQLite ("database is locked" in its log), and with
    the event what an automation would have done. A fault of ours fails three times.
    """

    @functools.wraps(test)
    def attempts(platform: Platform, **fixtures: Any) -> None:
        for _ in range(2):
            try:
                return test(platform=platform, **fixtures)
            except AssertionError:
                platform.try_again()
        return test(platform=platform, **fixtures)

    return attempts


def repeat_until(action: Callable[[], Any], condition: Callable[[], Any], what: str) -> None:
    """Do what can be done again without harm, up to three times, until a condition holds; see `three_times`."""
    for _ in range(2):
        action()
        try:
            wait_for(condition, what, 30)
            return
        except AssertionError:
            continue
    action()
    wait_for(condition, what, 30)


def wait_for(condition: Callable[[], T | None], what: str, seconds: float, pause: float = 0.2) -> T:
    """What a condition gives once it gives something."""
    deadline = time.monotonic() + seconds
    while not (result := condition()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(pause)
    return result
