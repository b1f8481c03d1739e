"""Runs that share a storage, and a run whose server is its own."""

from __future__ import annotations

import resource
import sqlite3
from pathlib import Path

import pytest

from tasks.champion import read_champion
from tasks.storage import Storage
from tests.conftest import data_files, small_options
from tests.integration.processes import finish, start
from tests.integration.test_interruption import OPTIONS, without_server


@pytest.mark.parametrize("n_runs", [2, 3])
def test_runs_at_once_complete_with_the_same_files(
    n_runs: int, server: dict[str, str], reference: Path, tmp_path: Path
) -> None:
    processes = [start(tmp_path, server, *OPTIONS) for _ in range(n_runs)]
    manifests = [finish(process) for process in processes]
    for manifest in manifests:
        assert manifest["metrics"]["model"]["ndcg_at_500"]["n"] == 24
    assert sorted(manifest["decision"]["verdict"] for manifest in manifests) == ["publish"] + ["unchanged"] * (
        n_runs - 1
    )
    champion = read_champion(Storage(str(tmp_path)))
    assert champion is not None and champion.history == []
    assert {m["folder"] for m in manifests if m["decision"]["verdict"] == "publish"} == {champion.current.run}
    assert len(list(tmp_path.glob("runs/*/manifest.json"))) == n_runs
    assert data_files(tmp_path) == data_files(reference)


def test_a_run_without_a_server_keeps_its_whole_history(tmp_path: Path) -> None:
    environment = without_server(tmp_path / "prefect")
    manifest = finish(start(tmp_path / "storage", environment, *small_options(batch_size=1)))
    n_task_runs = sum(counts["computed"] for counts in manifest["tasks"].values())
    assert n_task_runs == 5 * 24 + 13
    with sqlite3.connect(tmp_path / "prefect" / "prefect.db") as database:
        states = database.execute("SELECT state_type, count(*) FROM task_run GROUP BY 1").fetchall()
        flow_runs = database.execute("SELECT state_type FROM flow_run").fetchall()
    assert states == [("COMPLETED", n_task_runs)]
    assert flow_runs == [("COMPLETED",)]


def test_a_full_disk_is_one_sentence_and_the_next_run_resumes(
    server: dict[str, str], reference: Path, tmp_path: Path
) -> None:
    """The kernel refuses files above a limit that the features reach and what is before them does not."""
    limit = max(path.stat().st_size for path in reference.glob("data/memberships/*")) + 1
    assert limit < min(path.stat().st_size for path in reference.glob("data/features/*"))
    process = start(tmp_path, server, *OPTIONS)
    resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, limit))
    output, errors = process.communicate(timeout=120)
    assert (process.returncode, output) == (1, "")
    assert "Traceback" not in errors
    assert "File too large" in errors.splitlines()[-1]
    assert not list(tmp_path.rglob("*.part"))
    finish(start(tmp_path, server, *OPTIONS))
    assert data_files(tmp_path) == data_files(reference)
