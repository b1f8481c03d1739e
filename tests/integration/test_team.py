"""What compose.yaml starts, on a real PostgreSQL, with a server that wants a password."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT, data_files, manifest_of, small_options
from tests.integration.platform import ROOMS, deploy, prefect
from tests.integration.team import Team, postgres


@pytest.fixture(scope="module")
def team(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Team]:
    """The server on PostgreSQL; the code is this checkout's."""
    home = tmp_path_factory.mktemp("team")
    for room in ROOMS:
        (home / room).symlink_to(ROOT / room)
    with postgres() as port:
        team = Team(home, Path(sys.executable).parent, port)
        with team.started("server"):
            yield team


def test_the_pages_are_where_the_image_s_user_may_write(team: Team) -> None:
    """Prefect would unpack them beside its own code, which he may not."""
    assert (team.home / "ui" / "v2" / "index.html").exists()
    assert "UI will not be available" not in (team.home / "server.log").read_text()


def test_deploy_work_and_watch_with_the_password(team: Team, reference: Path) -> None:
    done = team.run("deploy")
    assert done.returncode == 0, done.stdout + done.stderr
    options = [
        word
        for option in ('sample={"n_playlists": 24}', 'features={"audio": "minmax", "embeddings": 8}')
        for word in ("-p", option)
    ]
    with team.started("worker"):
        run = ("deployment", "run", "train-playlists/manual", "--watch", *options, "-p", 'training={"batch_size": 8}')
        done = prefect(team.environment("worker"), *run)
    assert "Flow run finished successfully in 'Completed'." in done.stdout, (team.home / "worker.log").read_text()
    assert manifest_of(team.home / "store")["status"] == "completed"
    assert data_files(team.home / "store") == data_files(reference)


def test_the_command_line_with_the_password(team: Team, tmp_path: Path) -> None:
    """A server that wants a password is alive: the command does not call it missing."""
    command = [sys.executable, "-m", "flows.train_playlists", "--storage", str(tmp_path), *small_options()]
    environment = team.environment("worker")
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert manifest_of(tmp_path)["status"] == "completed"


@pytest.mark.parametrize("credentials", [{}, {"PREFECT_API_AUTH_STRING": "team:wrong"}], ids=["none", "wrong"])
def test_deploying_without_the_password_is_one_sentence(team: Team, credentials: dict[str, str]) -> None:
    done = deploy({"PREFECT_API_URL": team.api_url, "PREFECT_HOME": os.fspath(team.home / ".prefect")} | credentials)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert line == (
        f"the Prefect server at {team.api_url} refuses PREFECT_API_AUTH_STRING: set it to the server's user:password."
    )
