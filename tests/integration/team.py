"""The services of deployments/compose.yaml as processes of this machine: their commands and environment as they stand
there, with other addresses, on a PostgreSQL of Debian's packages."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import yaml

from tasks.server import answers
from tests.conftest import ROOT, free_port

SECRETS = {"POSTGRES_PASSWORD": "database1password", "PREFECT_AUTH": "team:server1password"}
START_SECONDS = 120


def postgres_program(name: str) -> str:
    """A program of the newest PostgreSQL; Debian keeps them out of the PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), key=lambda path: int(path.parts[-3]))
    program = str(found[-1]) if found else shutil.which(name)
    assert program, f"{name} is not installed: this test needs PostgreSQL (apt-get install postgresql)"
    return program


@contextmanager
def postgres() -> Iterator[int]:
    """A new PostgreSQL with the user and the database of compose.yaml; yields its port on 127.0.0.1."""
    user = "postgres" if os.geteuid() == 0 else None  # it refuses to run as root
    folder = Path(tempfile.mkdtemp(prefix="postgres"))  # not below pytest's folders, which only their owner may enter
    if user:
        shutil.chown(folder, user)
    try:
        password = folder / "password"
        password.write_text(SECRETS["POSTGRES_PASSWORD"])
        password.chmod(0o644)
        options = ["--username", "prefect", f"--pwfile={password}", "--auth=scram-sha-256", "--no-sync"]
        initdb = [postgres_program("initdb"), "--pgdata", str(folder / "data"), *options]
        subprocess.run(initdb, user=user, cwd=folder, check=True, capture_output=True, timeout=60)
        port = free_port()
        options = ["-c", "listen_addresses=127.0.0.1", "-c", f"unix_socket_directories={folder}", "-c", "fsync=off"]
        command = [postgres_program("postgres"), "-D", str(folder / "data"), "-p", str(port), *options]
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, user=user, cwd=folder, stdout=log, stderr=subprocess.STDOUT)
        try:
            _create_database(port)
            yield port
        finally:
            process.terminate()
            process.wait(timeout=30)
    finally:
        shutil.rmtree(folder)


def _create_database(port: int) -> None:
    command = [postgres_program("createdb"), "--host=127.0.0.1", f"--port={port}", "--username=prefect", "prefect"]
    environment = os.environ | {"PGPASSWORD": SECRETS["POSTGRES_PASSWORD"]}
    deadline = time.monotonic() + START_SECONDS
    while (done := subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)).returncode:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.2)


class Team:
    """Server, deployment and worker of compose.yaml.

    home: where the code and the storage are, as in the image. programs: a folder whose `python` executes them.
    """

    def __init__(self, home: Path, programs: Path, database_port: int) -> None:
        self.home, self.programs, self.port = home, programs, free_port()
        self._addresses = {
            "@database:5432": f"@127.0.0.1:{database_port}",
            "server:4200": f"127.0.0.1:{self.port}",
            "127.0.0.1:4200": f"127.0.0.1:{self.port}",
            "0.0.0.0": "127.0.0.1",
        }
        self._services = yaml.safe_load((ROOT / "deployments" / "compose.yaml").read_text())["services"]

    @property
    def api_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/api"

    def environment(self, service: str) -> dict[str, str]:
        """The environment of a service beside that of the image; a name without a value in SECRETS is an error."""
        given = self._services[service]["environment"]
        return self.image_environment() | {name: self._here(str(value)) for name, value in given.items()}

    def image_environment(self) -> dict[str, str]:
        """What the Dockerfile sets, in this home, and nothing of the caller's own Prefect."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PREFECT_")}
        inherited["PATH"] = f"{self.programs}{os.pathsep}{inherited['PATH']}"
        return inherited | image_environment(self.home) | {"PREFECT_HOME": str(self.home / ".prefect")}

    def command(self, service: str) -> list[str]:
        words = self._services[service].get("command") or image_command()
        return [self._here(word).replace("4200", str(self.port)) for word in words]

    def _here(self, text: str) -> str:
        text = re.sub(r"\$\{(\w+)(:\?[^}]*)?\}", lambda found: SECRETS[found[1]], text)
        for theirs, ours in self._addresses.items():
            text = text.replace(theirs, ours)
        return text

    def run(self, service: str) -> subprocess.CompletedProcess[str]:
        """A service that ends."""
        return subprocess.run(
            self.command(service),
            cwd=self.home,
            env=self.environment(service),
            capture_output=True,
            text=True,
            timeout=START_SECONDS,
        )

    @contextmanager
    def started(self, *services: str) -> Iterator[None]:
        """Services that do not end by themselves."""
        with ExitStack() as stack:
            for service in services:
                stack.enter_context(self._started(service))
            yield

    @contextmanager
    def _started(self, service: str) -> Iterator[None]:
        log_path = self.home / f"{service}.log"
        with log_path.open("w") as log:
            process = subprocess.Popen(
                self.command(service),
                cwd=self.home,
                env=self.environment(service),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        try:
            deadline = time.monotonic() + START_SECONDS
            while not answers(self.api_url):
                assert process.poll() is None and time.monotonic() < deadline, log_path.read_text()[-3000:]
                time.sleep(0.2)
            yield
        finally:
            process.terminate()
            process.wait(timeout=60)


def image_environment(home: Path) -> dict[str, str]:
    """The variables of the Dockerfile with another home."""
    text = (ROOT / "deployments" / "Dockerfile").read_text().replace("\\\n", " ")
    (line,) = re.findall(r"^ENV (.*)$", text, re.MULTILINE)
    pairs = (word.split("=", 1) for word in line.split())
    return {name: value.replace("/opt/playlists", str(home)) for name, value in pairs}


def image_command() -> list[str]:
    (line,) = re.findall(r"^CMD (.*)$", (ROOT / "deployments" / "Dockerfile").read_text(), re.MULTILINE)
    words: list[str] = json.loads(line)
    return words
