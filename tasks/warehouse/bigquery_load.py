"""A BigQuery dataset as the destination of a load: staging tables by load jobs, then copied into place."""

from __future__ import annotations

import os
import re
import secrets
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
import requests
from google.api_core.exceptions import Forbidden, GoogleAPICallError, GoogleAPIError, NotFound, RetryError
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY

from tasks.errors import InputError
from tasks.warehouse.contract import SCHEMAS
from tasks.warehouse.parts import Part, Tables

SCHEME = "bigquery://"
FORM = re.compile(
    r"bigquery://(?P<project>[a-z][a-z0-9.:-]{2,61}[a-z0-9])/(?P<dataset>[A-Za-z0-9_]{1,1024})"
    r"(\?location=(?P<location>[A-Za-z0-9-]+))?"
)
TYPES = {pa.string(): "STRING", pa.float64(): "FLOAT64"}
LABELS = {"loaded-by": "playlist-models"}
REQUEST_SECONDS = 60.0  # for one request; an upload sends a piece of 100 MB in one
RETRY = DEFAULT_RETRY.with_timeout(60.0)  # the client's own would go on for ten minutes
JOB_SECONDS = 3600.0
UPLOAD_TRIES = 6  # about a minute
BATCH_ROWS = 1 << 16


class BigQueryDestination:
    """The tables in a dataset that exists; see destinations.py.

    Credentials are Application Default Credentials, none for the emulator that BIGQUERY_EMULATOR_HOST names. Needs the
    roles BigQuery Data Editor on the dataset and BigQuery Job User on the project.
    """

    def __init__(self, uri: str) -> None:
        match = FORM.fullmatch(uri)
        if match is None:
            raise InputError(
                f"destination {uri!r} is no dataset: write bigquery://project/dataset, or with ?location=EU after it."
            )
        self._uri = uri
        self._dataset = f"{match['project']}.{match['dataset']}"
        self._project, self._location = match["project"], match["location"]

    def check(self) -> None:
        """Raise InputError unless the dataset answers, and its two tables are absent, empty or a loader's."""
        with self._sentences(), self._client() as client:
            self._check(client)

    def replace(self, tables: Tables) -> None:
        """Load staging tables; when all of them are whole, copy each over its table in one atomic job.

        Each copy is atomic, the two together are not: who reads in the second between them sees one new table. Staging
        tables have random names and end after a day, so whatever is interrupted, no row is loaded twice.
        """
        with self._sentences(), self._client() as client:
            self._check(client)
            staged: dict[str, str] = {}
            try:
                for table, parts in tables.items():
                    staged[table] = f"loading_{table}_{secrets.token_hex(8)}"
                    self._load(client, staged[table], table, parts)
                for table, name in staged.items():
                    self._copy(client, name, table)
            finally:
                for name in staged.values():
                    with suppress(GoogleAPIError, requests.RequestException):  # they end by themselves
                        client.delete_table(self._at(name), not_found_ok=True, retry=None, timeout=REQUEST_SECONDS)

    def _at(self, table: str) -> str:
        return f"{self._dataset}.{table}"

    def _client(self) -> bigquery.Client:
        credentials = AnonymousCredentials() if os.environ.get("BIGQUERY_EMULATOR_HOST") else None
        return bigquery.Client(project=self._project, credentials=credentials, location=self._location)

    def _check(self, client: bigquery.Client) -> None:
        client.get_dataset(self._dataset, retry=RETRY, timeout=REQUEST_SECONDS)
        for name in SCHEMAS:
            try:
                table = client.get_table(self._at(name), retry=RETRY, timeout=REQUEST_SECONDS)
            except NotFound:
                continue
            if (table.num_rows or table.table_type != "TABLE") and not LABELS.items() <= table.labels.items():
                raise InputError(
                    f"table {self._at(name)} of destination {self._uri!r} was not loaded there: give another dataset, "
                    "or delete the table."
                )

    def _load(self, client: bigquery.Client, staging: str, table: str, parts: Sequence[Part]) -> None:
        """Load all parts with one job: a table takes 1,500 load jobs a day, and a thousand slices would use them up."""
        made = self._create(client, staging, table, expires=datetime.now(UTC) + timedelta(days=1))
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.PARQUET,
            schema=made.schema,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
        )
        with tempfile.TemporaryFile() as joined:
            rows = _join(parts, SCHEMAS[table], joined)
            job = client.load_table_from_file(
                joined, made, rewind=True, num_retries=UPLOAD_TRIES, job_config=config, timeout=REQUEST_SECONDS
            )
        _finish(job)
        if job.output_rows != rows:
            raise InputError(
                f"BigQuery made {job.output_rows} rows of the {rows} of table {table!r}: nothing was replaced; start "
                "again."
            )

    def _create(
        self, client: bigquery.Client, name: str, table: str, expires: datetime | None = None
    ) -> bigquery.Table:
        """The table itself if it is there, or a new one; an emulator cannot replace what was never created."""
        schema = [bigquery.SchemaField(field.name, TYPES[field.type]) for field in SCHEMAS[table]]
        wanted = bigquery.Table(self._at(name), schema=schema)
        wanted.labels, wanted.expires = LABELS, expires
        return client.create_table(wanted, exists_ok=True, retry=RETRY, timeout=REQUEST_SECONDS)

    def _copy(self, client: bigquery.Client, staging: str, table: str) -> None:
        self._create(client, table, table)
        config = bigquery.CopyJobConfig(write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE)
        _finish(
            client.copy_table(
                self._at(staging), self._at(table), job_config=config, retry=RETRY, timeout=REQUEST_SECONDS
            )
        )
        loaded = client.get_table(self._at(table), retry=RETRY, timeout=REQUEST_SECONDS)
        loaded.labels, loaded.expires = LABELS, None  # whatever came along with the copy
        client.update_table(loaded, ["labels", "expires"], retry=RETRY, timeout=REQUEST_SECONDS)

    @contextmanager
    def _sentences(self) -> Iterator[None]:
        """Say in one sentence what BigQuery refuses."""
        try:
            yield
        except NotFound as error:
            raise InputError(
                f"destination {self._uri!r} is not there ({error.message}): create the dataset first "
                f"(bq mk --location=EU {self._dataset.replace('.', ':')}), or correct the name or the location."
            ) from error
        except Forbidden as error:
            raise InputError(
                f"no access to destination {self._uri!r} ({error.message}): grant BigQuery Data Editor on the dataset "
                "and BigQuery Job User on the project."
            ) from error
        except GoogleAPICallError as error:
            raise InputError(f"BigQuery refuses destination {self._uri!r} ({error.message}).") from error
        except GoogleAuthError as error:
            raise InputError(
                f"no credentials for destination {self._uri!r} ({error}): gcloud auth application-default login, or "
                "set GOOGLE_APPLICATION_CREDENTIALS."
            ) from error
        except (RetryError, requests.RequestException, TimeoutError) as error:
            raise InputError(
                f"BigQuery cannot be reached for destination {self._uri!r} ({type(error).__name__}): what was there is "
                "as before; start again."
            ) from error


def _finish(job: bigquery.LoadJob | bigquery.CopyJob) -> None:
    job.result(retry=RETRY, timeout=JOB_SECONDS)


def _join(parts: Sequence[Part], schema: pa.Schema, target: BinaryIO) -> int:
    """Write all parts as one Parquet file, row batch by row batch; returns its rows."""
    rows = 0
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for part in parts:
            with part.open() as source, pq.ParquetFile(source, page_checksum_verification=True) as parquet:
                for batch in parquet.iter_batches(BATCH_ROWS, use_threads=False):
                    writer.write_batch(batch)
                    rows += batch.num_rows
    return rows
