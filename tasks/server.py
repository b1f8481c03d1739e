"""A Prefect server of one's own on 127.0.0.1: `python -m tasks.server start [port]` and `stop`."""

from __future__ import annotations

import contextlib
import http.client
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

LOCAL_API = re.compile(r"http://(?:127\.0\.0\.1|localhost):(\d+)/api")
START_SECONDS = 120
STOP_SECONDS = 30
# As it is started here, and by `prefect server start --background`, which leaves its number in the same place.
SERVER_COMMANDS = ("prefect server start", "prefect.server.api.server:create_app")


def answers(api_url: str, seconds: float = 5.0) -> bool:
    """Whether a Prefect server answers at this address within so many seconds."""
    try:
        with urllib.request.urlopen(f"{api_url.rstrip('/')}/health", timeout=seconds) as response:  # noqa: S310  # the user's own address
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
    if chosen and (local := LOCAL_API.fullmatch(chosen)):
        port = local[1]
    elif chosen:
        raise SystemExit(
            f"PREFECT_API_URL is {chosen!r}, where no server answers: start it there, correct the "
            "address (it ends in /api), or unset the variable."
        )
    if not (port.isascii() and port.isdecimal() and 0 < int(port) < 65536):
        raise SystemExit(
            f"{'PREFECT_API_URL' if chosen else 'SERVER_PORT'} names port {port!r}: it must be from 1 to 65535."
        )
    if pid := _running_server():
        raise SystemExit(
            f"a Prefect server of this folder runs already (process {pid}), but not at {api_url}: make stop ends it, "
            "or name its port (SERVER_PORT)."
        )
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
    pid = _running_server()
    if pid is None:
        return "No server of this folder runs in the background."
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGTERM)
    deadline = time.monotonic() + STOP_SECONDS
    while _is_server(pid):
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


def _running_server() -> int | None:
    """The process of the server that was left in the background; the note of one that is gone is removed."""
    try:
        pid = int(_pid_file().read_text())
    except (FileNotFoundError, ValueError):
        pid = 0
    if pid > 0 and _is_server(pid):
        return pid
    _pid_file().unlink(missing_ok=True)
    return None


def _is_server(pid: int) -> bool:
    """Whether a process of ours is a Prefect server: its number may have gone to another one, or to another user's.

    A process that has ended, but that nobody has waited for, has no command any more.
    """
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, PermissionError, OverflowError):
        return False
    return any(server in _command(pid) for server in SERVER_COMMANDS)


def _command(pid: int) -> str:
    """The command line of a process; of /proc if there is one, since small images lack `ps`, and macOS lacks /proc."""
    if Path("/proc/self/cmdline").exists():
        try:
            return Path(f"/proc/{pid}/cmdline").read_text(errors="replace").replace("\0", " ")
        except OSError:
            return ""  # it has just ended
    command = ["ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(command, capture_output=True, text=True, timeout=10).stdout  # noqa: S603  # a number


def main(words: list[str]) -> str:
    """Do what the command line says, and return what to tell."""
    match words:
        case ["start"]:
            return start("4200")
        case ["start", port]:
            return start(port)
        case ["stop"]:
            return stop()
    raise SystemExit(f"{' '.join(words)!r} is no command: say start, start PORT or stop.")


if __name__ == "__main__":
    print(main(sys.argv[1:]))
