"""A real process is killed between its batches; the next one does the rest."""

from __future__ import annotations

import signal
from pathlib import Path

from tasks.parameters import SampleParameters, TrainingParameters
from tests.conftest import RunFlow, data_files, small_options
from tests.integration.processes import finish, interrupt_when, n_records, start

N_BATCHES = 12
OPTIONS = small_options(batch_size=2)


def test_a_killed_run_is_finished_by_the_next(server: dict[str, str], run_flow: RunFlow, tmp_path: Path) -> None:
    interrupted, uninterrupted = tmp_path / "interrupted", tmp_path / "uninterrupted"
    process = start(interrupted, server, *OPTIONS)
    interrupt_when(process, lambda: n_records(interrupted, "train-batch") >= 3, signal.SIGKILL)
    finished = n_records(interrupted, "train-batch")
    assert 3 <= finished < 2 * N_BATCHES
    assert not list(interrupted.glob("runs/*/manifest.json"))

    manifest = finish(start(interrupted, server, *OPTIONS))
    stages = [manifest["tasks"][f"train_batch_{fold}"] for fold in ("inner", "outer")]
    assert sum(stage["reused"] for stage in stages) == finished
    assert sum(stage["computed"] for stage in stages) == 2 * N_BATCHES - finished
    assert manifest["tasks"]["extract_memberships"]["reused"] == 1

    run_flow(uninterrupted, sample=SampleParameters(n_playlists=24), training=TrainingParameters(batch_size=2))
    assert data_files(interrupted) == data_files(uninterrupted)
