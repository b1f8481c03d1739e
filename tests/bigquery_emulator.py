"""BigQuery on 127.0.0.1, one server per session: bqemulator, in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery as google_bigquery

from tasks.warehouse.contract import TABLES

# It queries with DuckDB, and its read API is a real gRPC server.

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

    def load(self, folder: Path | str, dataset: str) -> str:
        """Bring the Parquet tables of a folder into a dataset, in place of what was there, and return the source.

        A column without any value has the type that the contract gives it.
        """
        self.client.create_dataset(f"{PROJECT}.{dataset}", exists_ok=True)
        for path in sorted(Path(folder).glob("*.parquet")):
            table = f"{PROJECT}.{dataset}.{path.stem}"
            schema = [
                google_bigquery.SchemaField(field.name, _type_of(field.type, TABLES[path.stem].get(field.name, "text")))
                for field in pq.read_schema(path)
            ]
            self.client.delete_table(table, not_found_ok=True)
            self.client.create_table(google_bigquery.Table(table, schema=schema))
            config = google_bigquery.LoadJobConfig(source_format="PARQUET", schema=schema)
            with path.open("rb") as stream:  # without size: it refuses a multipart upload
                self.client.load_table_from_file(stream, table, job_config=config).result(timeout=120)
        return f"bigquery://{PROJECT}/{dataset}?location=EU&scratch={SCRATCH}"

    def load_as_view(self, folder: Path | str, dataset: str) -> str:
        """The same, with a view in place of the table playlists."""
        self.load(folder, f"{dataset}_tables")
        source = self.load(folder, dataset)
        tables = f"{PROJECT}.{dataset}_tables"
        schema = self.client.get_table(f"{tables}.playlists").schema  # it does not find that out for itself
        view = google_bigquery.Table(f"{PROJECT}.{dataset}.playlists", schema=schema)
        view.view_query = f"SELECT * FROM `{tables}.playlists`"
        self.client.delete_table(view)
        self.client.create_table(view)
        return source


def _type_of(data_type: pa.DataType, kind: str) -> str:
    if pa.types.is_null(data_type):
        return "FLOAT64" if kind == "number" else "STRING"
    return "INT64" if pa.types.is_integer(data_type) else "FLOAT64" if pa.types.is_floating(data_type) else "STRING"


@contextmanager
def serve_bigquery(home: Path) -> Iterator[BigQuery]:
    """The emulator as a process with its files in `home`, until the block ends."""
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


@pytest.fixture(scope="session")
def bigquery_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BigQuery]:
    """The emulator of the session; clients are told of it by `bigquery`."""
    with serve_bigquery(tmp_path_factory.mktemp("bqemulator")) as found:
        yield found


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
