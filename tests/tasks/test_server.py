"""The server that `make server` leaves behind: it lives, it logs, it ends, and what is in its way is one sentence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tasks.server import answers, stop
from tests.conftest import ROOT, free_port


def server(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    environment |= {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    command = [sys.executable, "-m", "tasks.server", *arguments]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=180)


def test_a_server_is_started_once_and_stopped(tmp_path: Path) -> None:
    port = str(free_port())
    url = f"http://127.0.0.1:{port}"
    try:
        assert server(tmp_path, "start", port).stdout == f"Prefect server started: {url} (make stop ends it)\n"
        assert server(tmp_path, "start", port).stdout == f"Prefect answers at {url}\n"
        assert answers(f"{url}/api")
        other = server(tmp_path, "start", str(free_port()))
        assert (other.returncode, other.stdout) == (1, "")
        assert other.stderr.startswith("a Prefect server of this folder runs already (process ")
        assert other.stderr.endswith("make stop ends it, or name its port (SERVER_PORT).\n")
        assert url in (tmp_path / "server.log").read_text()
    finally:
        stopped = server(tmp_path, "stop")
    assert stopped.stdout == "Prefect server stopped.\n", stopped.stderr
    assert not answers(f"{url}/api")
    assert server(tmp_path, "stop").stdout == "No server of this folder runs in the background.\n"


@pytest.mark.parametrize(
    "words", [["frobnicate"], ["start", "1", "2"], ["stop", "now"], ["start", "٤٢"], ["start", "0"], []]
)
def test_what_is_no_command_starts_nothing(words: list[str], tmp_path: Path) -> None:
    done = server(tmp_path, *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert not (tmp_path / "server.log").exists()


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = server(tmp_path, "start", str(taken.getsockname()[1]))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("(Here: make stop ends a server, SERVER_PORT=4333 takes another port.)\n")


@contextmanager
def stranger() -> Iterator[int]:
    """A process that is no server, and that a note of one names."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    try:
        yield process.pid
        time.sleep(0.1)
        assert process.poll() is None, "a process that is not ours was ended"
    finally:
        process.kill()
        process.wait(timeout=10)


def test_a_number_that_went_to_another_process_ends_nothing(tmp_path: Path) -> None:
    with stranger() as pid:
        (tmp_path / "server.pid").write_text(str(pid))
        done = server(tmp_path, "stop")
    assert (done.stdout, done.stderr) == ("No server of this folder runs in the background.\n", "")
    assert not (tmp_path / "server.pid").exists()


@pytest.mark.parametrize("note", ["", "x", "-1", "0", "1", str(2**22), "9" * 30])
def test_a_note_that_names_no_server_is_removed(note: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    (tmp_path / "server.pid").write_text(note)
    assert stop() == "No server of this folder runs in the background."
    assert not (tmp_path / "server.pid").exists()


def test_a_process_of_another_user_is_not_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its number was reused; to signal it is forbidden."""

    def forbidden(pid: int, number: int) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setenv("PREFECT_HOME", str(tmp_path))
    monkeypatch.setattr(os, "kill", forbidden)
    (tmp_path / "server.pid").write_text(str(os.getpid()))
    assert stop() == "No server of this folder runs in the background."
