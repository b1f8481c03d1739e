"""Servers on 127.0.0.1 that speak the cloud's protocols, one of each per session."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google_bigquery

# BigQuery: bqemulator, in memory. It queries with DuckDB, and its read API is a real gRPC server.

PROJECT = "test-project"
SCRATCH = "scratch"  # it cannot stream anonymous results
START_SECONDS = 60
# Its extension has to be in the HOME of the process that loads it: there is no network to fetch it from.
RUN_BIGQUERY = """
from duckdb_extensions import import_extension
import_extension("spatial")
from bqemulator.cli import main
main()
"""


@dataclass(frozen=True)
class BigQuery:
    """An emulated BigQuery as a test sees it: with Google's own client, past the code that is tested."""

    environment: dict[str, str]
    client: google_bigquery.Client


@pytest.fixture(scope="session")
def bigquery_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigQuery]:
    """The emulator as a process; its clients are told of it by `bigquery`."""
    home = tmp_path_factory.mktemp("bqemulator")
    command = ["start", "--rest-port", "0", "--grpc-port", "0", "--ephemeral", "--log-format", "json"]
    # A read of more than 11 MiB is refused unless this is larger.
    settings = {"HOME": str(home), "BQEMU_WRITE_API_MAX_REQUEST_BYTES": str(1 << 28)}
    with (home / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN_BIGQUERY, *command, "--project", PROJECT],
            env=os.environ | settings,
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        ports = _wait_for_ports(process, home / "log")
        environment = {
            "BIGQUERY_EMULATOR_HOST": f"http://127.0.0.1:{ports['rest.listen']}",
            "BIGQUERY_STORAGE_EMULATOR_HOST": f"127.0.0.1:{ports['grpc.listen']}",
        }
        options = {"api_endpoint": environment["BIGQUERY_EMULATOR_HOST"]}
        with google_bigquery.Client(PROJECT, AnonymousCredentials(), client_options=options) as client:
            client.create_dataset(f"{PROJECT}.{SCRATCH}")
            yield BigQuery(environment, client)
    finally:
        process.terminate()
        process.wait(timeout=30)


@pytest.fixture
def bigquery(bigquery_server: BigQuery, monkeypatch: pytest.MonkeyPatch) -> BigQuery:
    """An emulated BigQuery, to which every client of the test goes."""
    for name, value in bigquery_server.environment.items():
        monkeypatch.setenv(name, value)
    return bigquery_server


def _wait_for_ports(process: subprocess.Popen[bytes], log: Path) -> dict[str, int]:
    """The ports by event, once its log names both."""
    deadline = time.monotonic() + START_SECONDS
    while True:
        lines = [json.loads(line) for line in log.read_text().splitlines() if line.startswith("{") and line[-1] == "}"]
        ports = {line["event"]: line["port"] for line in lines if "port" in line}
        if {"rest.listen", "grpc.listen"} <= ports.keys():
            return ports
        assert process.poll() is None, log.read_text()
        assert time.monotonic() < deadline, f"the BigQuery emulator does not start: {log.read_text()}"
        time.sleep(0.05)
