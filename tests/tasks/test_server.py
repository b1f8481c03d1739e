"""The server that `make server` leaves behind: it lives, it logs, it ends, and what is in its way is one sentence."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from tasks.server import answers
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
        assert url in (tmp_path / "server.log").read_text()
    finally:
        stopped = server(tmp_path, "stop")
    assert stopped.stdout == "Prefect server stopped.\n", stopped.stderr
    assert not answers(f"{url}/api")
    assert server(tmp_path, "stop").stdout == "No server of this folder runs in the background.\n"


def test_a_port_that_is_taken_is_one_sentence(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = server(tmp_path, "start", str(taken.getsockname()[1]))
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.count("\n") == 1
    assert done.stderr.endswith("(Here: make stop ends a server, SERVER_PORT=4333 takes another port.)\n")
