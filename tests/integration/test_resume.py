"""A real process is killed between its batches; the next one does the rest."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from tasks.parameters import SampleParameters, TrainingParameters
from tests.conftest import ROOT, RunFlow, data_files

N_BATCHES = 12
OPTIONS = ["--sample.n-playlists", "24", "--training.batch-size", "2", "--features.audio", "minmax"]


def start(storage: Path, environment: dict[str, str]) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "flows.train_playlists", "--storage", str(storage), *OPTIONS]
    return subprocess.Popen(
        command,
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def n_records(storage: Path) -> int:
    return len(list(storage.glob("records/train-batch-*")))


def kill_while_training(storage: Path, environment: dict[str, str]) -> int:
    """SIGKILL the process group once some batches are finished; returns how many are."""
    process = start(storage, environment)
    deadline = time.monotonic() + 120
    while n_records(storage) < 3:
        assert process.poll() is None and time.monotonic() < deadline
        time.sleep(0.005)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=30)
    return n_records(storage)


def test_a_killed_run_is_finished_by_the_next(server: dict[str, str], run_flow: RunFlow, tmp_path: Path) -> None:
    interrupted, uninterrupted = tmp_path / "interrupted", tmp_path / "uninterrupted"
    finished = kill_while_training(interrupted, server)
    assert 3 <= finished < N_BATCHES * 2
    assert not list(interrupted.glob("runs/*/manifest.json"))

    second = start(interrupted, server)
    output, errors = second.communicate(timeout=180)
    assert second.returncode == 0, errors
    manifest = json.loads(Path(output.splitlines()[-1]).read_text())
    assert manifest["status"] == "completed"
    stages = [manifest["tasks"][f"train_batch_{fold}"] for fold in ("inner", "outer")]
    assert sum(stage["reused"] for stage in stages) == finished
    assert sum(stage["computed"] for stage in stages) == N_BATCHES * 2 - finished
    assert manifest["tasks"]["extract_memberships"]["reused"] == 1

    run_flow(uninterrupted, sample=SampleParameters(n_playlists=24), training=TrainingParameters(batch_size=2))
    assert data_files(interrupted) == data_files(uninterrupted)
