"""A Prefect server of one's own on 127.0.0.1: `python -m tasks.server start [port]` and `stop`."""

from __future__ import annotations

import http.client
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

START_SECONDS = 120
STOP_SECONDS = 30


def answers(api_url: str) -> bool:
    """Whether a Prefect server answers at this address."""
    try:
        with urllib.request.urlopen(f"{api_url}/health", timeout=5) as response:  # noqa: S310  # the user's own address
            return response.read(16).strip() == b"true"
    except urllib.error.HTTPError as error:
        return error.code in (401, 403)  # a server that wants to know who asks
    except (OSError, ValueError, http.client.HTTPException):
        return False


def start(port: str) -> str:
    """Start a server in the background unless one answers; returns what to tell, raises SystemExit with a sentence."""
    chosen = os.environ.get("PREFECT_API_URL")
    api_url = chosen or f"http://127.0.0.1:{port}/api"
    if answers(api_url):
        return f"Prefect answers at {api_url.removesuffix('/api')}"
    if chosen:
        raise SystemExit(
            f"PREFECT_API_URL is {chosen!r}, where no server answers: start it there or unset the variable."
        )
    if not (port.isdecimal() and 0 < int(port) < 65536):
        raise SystemExit(f"SERVER_PORT is {port!r}: it must be a number from 1 to 65535.")
    _forget_dead_server()
    # The pages look for the API at port 4200 unless they are told.
    os.environ["PREFECT_SERVER_UI_API_URL"] = api_url
    process = _start_in_background(port)
    deadline = time.monotonic() + START_SECONDS
    while not answers(api_url):
        if process.poll() is not None:
            _pid_file().unlink(missing_ok=True)
            reason = " ".join(_log_file().read_text().split())[-500:]
            raise SystemExit(f"{reason} (Here: make stop ends a server, SERVER_PORT=4333 takes another port.)")
        if time.monotonic() > deadline:
            raise SystemExit(
                f"the Prefect server did not answer at {api_url} within {START_SECONDS} s: is port {port} free?"
            )
        time.sleep(0.2)
    return f"Prefect server started: http://127.0.0.1:{port} (make stop ends it)"


def stop() -> str:
    """End the server that `start` left in the background."""
    _forget_dead_server()
    if not _pid_file().exists():
        return "No server of this folder runs in the background."
    pid = int(_pid_file().read_text())
    os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _is_alive(pid):
        if time.monotonic() > deadline:
            raise SystemExit(f"the Prefect server (process {pid}) does not end within {STOP_SECONDS} s: kill it.")
        time.sleep(0.1)
    _pid_file().unlink(missing_ok=True)
    return "Prefect server stopped."


def _start_in_background(port: str) -> subprocess.Popen[bytes]:
    """A server of its own session that writes a log, with its process id where `prefect server stop` looks for it.

    `prefect server start --background` gives its server a pipe that nobody reads: its first line after the command has
    ended, if only a warning, ends the server.
    """
    command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", port]
    _log_file().parent.mkdir(parents=True, exist_ok=True)
    with _log_file().open("wb") as log:
        process = subprocess.Popen(  # noqa: S603  # no word is a stranger's
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
    _pid_file().write_text(str(process.pid))
    return process


def _log_file() -> Path:
    return _pid_file().with_name("server.log")


def _pid_file() -> Path:
    return Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect")) / "server.pid"


def _forget_dead_server() -> None:
    """Remove the note of a server that was killed."""
    try:
        is_alive = _is_alive(int(_pid_file().read_text()))
    except (FileNotFoundError, ValueError):
        is_alive = False
    if not is_alive:
        _pid_file().unlink(missing_ok=True)


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


if __name__ == "__main__":
    print(stop() if sys.argv[1:2] == ["stop"] else start(*sys.argv[2:3] or ["4200"]))
