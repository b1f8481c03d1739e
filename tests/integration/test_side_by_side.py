"""Runs that share a storage, a run whose server is its own or dies, and disks that are full."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tasks.champion import read_champion
from tasks.storage import Storage
from tests.conftest import data_files, free_port, own_server, small_options
from tests.integration.processes import finish, interrupt_when, n_records, start
from tests.integration.test_interruption import OPTIONS, without_server


def test_runs_at_once_complete_with_the_same_files(server: dict[str, str], reference: Path, tmp_path: Path) -> None:
    processes = [start(tmp_path, server, *OPTIONS) for _ in range(3)]
    manifests = [finish(process) for process in processes]
    for manifest in manifests:
        assert manifest["metrics"]["model"]["ndcg_at_500"]["n"] == 24
    assert sorted(manifest["decision"]["verdict"] for manifest in manifests) == ["publish", "unchanged", "unchanged"]
    champion = read_champion(Storage(str(tmp_path)))
    assert champion is not None and champion.history == []
    assert {m["folder"] for m in manifests if m["decision"]["verdict"] == "publish"} == {champion.current.run}
    assert len(list(tmp_path.glob("runs/*/manifest.json"))) == 3
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


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 4 MB in memory. Mounting one needs root, which CI is, or sudo without a password."""
    folder = tmp_path / "disk"
    folder.mkdir()
    rights = [] if os.geteuid() == 0 else ["sudo", "-n"]
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m,mode=777", "tmpfs", str(folder)]
    subprocess.run([*rights, *mount], check=True, timeout=30)
    try:
        yield folder
    finally:
        subprocess.run([*rights, "umount", "--lazy", str(folder)], check=True, timeout=30)


@pytest.mark.parametrize("share", [0.5, 1.01], ids=["in the training", "in the report"])
def test_a_disk_that_fills_up(share: float, server: dict[str, str], reference: Path, disk: Path) -> None:
    """`share` of the room that data and records of a whole run take is free."""
    files = [path for kind in ("data", "records") for path in (reference / kind).rglob("*") if path.is_file()]
    pages = sum(-(-path.stat().st_size // 4096) for path in files)
    free = os.statvfs(disk).f_bavail * 4096
    ballast = disk / "ballast"
    ballast.write_bytes(bytes(free - int(share * pages * 4096)))
    process = start(disk / "storage", server, *OPTIONS)
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert "manifest.json" not in output
    assert "Traceback" not in errors
    assert "No space left on device" in errors.splitlines()[-1] and "free some space" in errors.splitlines()[-1]
    assert not list(disk.rglob("*.part"))
    ballast.unlink()
    manifest = finish(start(disk / "storage", server, *OPTIONS))
    assert sum(counts["reused"] for counts in manifest["tasks"].values()) > 0
    assert data_files(disk / "storage") == data_files(reference)


def test_a_server_that_dies_under_a_run(reference: Path, tmp_path: Path, server: dict[str, str]) -> None:
    """Interrupted or left alone, it ends with a sentence once the server has been gone for half a minute."""
    port, home = free_port(), tmp_path / "home"
    environment = without_server(home) | {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    with own_server(home, port) as process:
        run = start(tmp_path / "storage", environment, *OPTIONS)

        def kill_server_in_training() -> bool:
            if n_records(tmp_path / "storage", "train-batch") == 0:
                return False
            process.kill()
            return True

        errors = interrupt_when(run, kill_server_in_training, signal.SIGTERM)
    assert run.returncode in (1, 130)
    assert errors.rstrip().endswith("the same command goes on from what is finished.")
    finish(start(tmp_path / "storage", server, *OPTIONS))
    assert data_files(tmp_path / "storage") == data_files(reference)
