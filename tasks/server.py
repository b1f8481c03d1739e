"""A Prefect server of one's own on 127.0.0.1: `python -m tasks.server start [port]` and `stop`."""

from __future__ import annotations

import http.client
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

START_SECONDS = 120


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
    _prefect("server", "start", "--background", "--host", "127.0.0.1", "--port", port)
    deadline = time.monotonic() + START_SECONDS
    while not answers(api_url):
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
    _prefect("server", "stop")
    return "Prefect server stopped."


def _prefect(*arguments: str) -> None:
    command = [sys.executable, "-m", "prefect", *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)  # noqa: S603  # no word is a stranger's
    if done.returncode:
        reason = " ".join((done.stderr or done.stdout).split())
        raise SystemExit(f"{reason} (Here: make stop ends a server, SERVER_PORT=4333 takes another port.)")


def _pid_file() -> Path:
    return Path(os.environ.get("PREFECT_HOME", Path.home() / ".prefect")) / "server.pid"


def _forget_dead_server() -> None:
    """Remove the note of a server that was killed: Prefect would refuse to start another one."""
    try:
        os.kill(int(_pid_file().read_text()), 0)
    except (FileNotFoundError, ValueError, ProcessLookupError):
        _pid_file().unlink(missing_ok=True)


if __name__ == "__main__":
    print(stop() if sys.argv[1:2] == ["stop"] else start(*sys.argv[2:3] or ["4200"]))
