"""One Prefect server and one reference run serve all tests of a process; both are real."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from prefect import Flow
from prefect.events.worker import EventsWorker
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_URL, PREFECT_HOME, temporary_settings

from flows.train_playlists import train_playlists
from tasks.parameters import FeatureParameters, SampleParameters, TrainingParameters
from tasks.server import answers
from tests.bigquery_emulator import bigquery, bigquery_server  # noqa: F401  # fixtures
from tests.gcs_emulator import bucket, gcs  # noqa: F401  # fixtures

hypothesis.settings.register_profile("patient", deadline=None)  # a busy machine is no counterexample
hypothesis.settings.load_profile("patient")

ROOT = Path(__file__).parent.parent
SAMPLE_WAREHOUSE = ROOT / "deployments" / "sample_warehouse"

# Small enough to run in two seconds, large enough for several batches.
SMALL: dict[str, Any] = {
    "source": str(SAMPLE_WAREHOUSE),
    "sample": SampleParameters(n_playlists=24),
    "features": FeatureParameters(audio="minmax", embeddings=8),
    "training": TrainingParameters(batch_size=8),
}


ALWAYS_COMPUTED = {"read_snapshot", "decide_publication"}


def small_options(batch_size: int = 8) -> list[str]:
    """SMALL on the command line."""
    options = {"sample.n-playlists": 24, "features.audio": "minmax", "features.embeddings": 8}
    options["training.batch-size"] = batch_size
    return [word for name, value in options.items() for word in (f"--{name}", str(value))]


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def own_server(home: Path, port: int) -> Iterator[subprocess.Popen[bytes]]:
    """A real Prefect server of its own, as a process."""
    home.mkdir(exist_ok=True)
    environment = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    environment["PREFECT_SERVER_UI_API_URL"] = f"http://127.0.0.1:{port}/api"  # its pages look at port 4200 otherwise
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
    with (home / "server.log").open("w") as log:
        process = subprocess.Popen(command, env=os.environ | environment, stdout=log, stderr=subprocess.STDOUT)
    try:
        deadline = time.monotonic() + 120
        while not answers(f"http://127.0.0.1:{port}/api"):
            assert process.poll() is None, (home / "server.log").read_text()
            assert time.monotonic() < deadline, "the Prefect server does not answer"
            time.sleep(0.2)
        yield process
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """A real Prefect server; yields the environment that finds it."""
    home, port = tmp_path_factory.mktemp("prefect"), free_port()
    environment = {
        "PREFECT_HOME": str(home),
        "PREFECT_API_URL": f"http://127.0.0.1:{port}/api",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_DEPLOYMENTS_CONCURRENCY_SLOT_WAIT_SECONDS": "1",
    }
    with (
        own_server(home, port),
        temporary_settings({PREFECT_API_URL: environment["PREFECT_API_URL"], PREFECT_HOME: home}),
    ):
        yield environment
        APILogWorker.drain_all()  # else this process waits at its end for a server that is gone
        EventsWorker.drain_all()


def manifest_after(flow: Flow[..., Any], storage: Path, **parameters: Any) -> dict[str, Any]:
    """Run any flow in this process on a storage and return its manifest."""
    before = set(storage.glob("runs/*/manifest.json"))
    state = flow(storage=str(storage), **parameters, return_state=True)
    (path,) = set(storage.glob("runs/*/manifest.json")) - before
    manifest: dict[str, Any] = json.loads(path.read_text())
    assert manifest["status"] == ("completed" if state.is_completed() else "failed")
    return manifest


RunFlow = Callable[..., dict[str, Any]]


@pytest.fixture(scope="session")
def run_flow(server: dict[str, str]) -> RunFlow:
    """Run the flow in this process on a storage and return its manifest."""

    return lambda storage, **parameters: manifest_after(train_playlists, storage, **(SMALL | parameters))


@pytest.fixture(scope="session")
def reference(run_flow: RunFlow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of one finished small run. Nobody writes to it: see `storage`."""
    storage = tmp_path_factory.mktemp("reference") / "storage"
    assert run_flow(storage)["status"] == "completed"
    return storage


@pytest.fixture
def storage(reference: Path, tmp_path: Path) -> Path:
    """A copy of the reference run's storage, to damage and to run on."""
    return Path(shutil.copytree(reference, tmp_path / "storage"))


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def computed(manifest: dict[str, Any]) -> dict[str, int]:
    """How many task runs of each stage were computed, without those that always are."""
    return {
        stage: counts["computed"]
        for stage, counts in manifest["tasks"].items()
        if counts["computed"] and stage not in ALWAYS_COMPUTED
    }


def data_files(storage: Path) -> set[str]:
    """What stands under a final name; SIGKILL may leave a temporary file beside it, which nobody reads."""
    return {path.relative_to(storage).as_posix() for path in storage.glob("data/*/*") if path.suffix != ".part"}


def crown(storage: Path, run: str, *history: str) -> None:
    """Make a run the champion of a storage, and others what was champion before; paths as they come."""
    decision = {"verdict": "publish", "sentence": "said by a test"}
    about = {"published": "2026-01-01T00:00:00Z", "decision": decision}
    current, *former = ({"run": folder, "run_id": folder[-8:]} | about for folder in (run, *history))
    (storage / "champion.json").write_text(json.dumps({"current": current, "history": former}))


def manifest_of(storage: Path) -> dict[str, Any]:
    """The manifest of the only run of a storage."""
    (path,) = storage.glob("runs/*/manifest.json")
    manifest: dict[str, Any] = json.loads(path.read_text())
    return manifest
