"""The command as a real process of its own session, to be interrupted."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.conftest import ROOT

START_SECONDS = 120
RUN_SECONDS = 240


def start(
    storage: Path, environment: dict[str, str], *options: str, flow: str = "train_playlists"
) -> subprocess.Popen[str]:
    """Start the command; without PREFECT_API_URL in the environment it brings its own server."""
    inherited = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    return subprocess.Popen(
        [sys.executable, "-m", f"flows.{flow}", "--storage", str(storage), *options],
        cwd=ROOT,
        env=inherited | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


def finish(process: subprocess.Popen[str]) -> dict[str, Any]:
    """Wait for a good end and return the manifest that the last line names."""
    output, errors = process.communicate(timeout=RUN_SECONDS)
    assert process.returncode == 0, errors
    assert "Traceback" not in errors, errors
    manifest: dict[str, Any] = json.loads(Path(output.splitlines()[-1]).read_text())
    assert manifest["status"] == "completed"
    return manifest


def interrupt_when(process: subprocess.Popen[str], is_time: Callable[[], bool], kind: signal.Signals) -> str:
    """Send a signal once `is_time`: SIGKILL to the whole process group, others to the process; returns its stderr."""
    deadline = time.monotonic() + START_SECONDS
    while not is_time():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < deadline, "the run does not reach the stage"
        time.sleep(0.003)
    if kind is signal.SIGKILL:
        os.killpg(process.pid, kind)
    else:
        process.send_signal(kind)
    return process.communicate(timeout=60)[1]


def n_records(storage: Path, task: str) -> int:
    return len(list(storage.glob(f"records/{task}-*")))
