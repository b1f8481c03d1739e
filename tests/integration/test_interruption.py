"""Every kind of interruption at three stages, with a server and without: the next run completes with the same files."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from tests.conftest import data_files, small_options
from tests.integration.processes import finish, interrupt_when, n_records, start

OPTIONS = small_options()

# What has to be there for the signal to come: during the extracts, the training and the evaluation.
STAGES = ["count-playlists", "train-batch", "evaluate-batch"]


def without_server(home: Path) -> dict[str, str]:
    return {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}


@pytest.fixture(scope="module")
def prefect_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One database for all temporary servers: making a new one takes longer than a run."""
    return tmp_path_factory.mktemp("home")


@pytest.mark.parametrize("has_server", [True, False], ids=["server", "no server"])
@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL], ids=lambda kind: kind.name)
def test_interrupted_at_three_stages_in_a_row(
    kind: signal.Signals, has_server: bool, server: dict[str, str], prefect_home: Path, reference: Path, tmp_path: Path
) -> None:
    storage = tmp_path / "storage"
    environment = server if has_server else without_server(prefect_home)
    for task in STAGES:
        before = n_records(storage, task)
        assert before == 0
        process = start(storage, environment, *OPTIONS)
        errors = interrupt_when(process, lambda task=task: n_records(storage, task) > 0, kind)
        assert "Traceback" not in errors, errors
        if kind is not signal.SIGKILL:
            assert process.returncode == 130
            assert errors.strip().endswith("interrupted; the same command goes on from what is finished.")
    n_finished = n_records(storage, "train-batch")
    manifest = finish(start(storage, environment, *OPTIONS))
    assert n_finished == 6
    assert manifest["tasks"]["train_batch_inner"]["reused"] == manifest["tasks"]["train_batch_outer"]["reused"] == 3
    assert manifest["tasks"]["evaluate_batch"]["reused"] >= 1
    assert data_files(storage) == data_files(reference)
