"""Bring Parquet files into one BigQuery table, in place of what was there: staged first, then replaced in one step."""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pyarrow as pa
from google.api_core.exceptions import GoogleAPIError, NotFound
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud import bigquery
from google.cloud.bigquery.retry import DEFAULT_RETRY
from requests.exceptions import RequestException

from tasks.errors import InputError

FORM = "bigquery://project/dataset/table?location=EU"
SHAPE = re.compile(
    r"bigquery://(?P<project>[a-z][a-z0-9.:-]{2,61}[a-z0-9])/(?P<dataset>[A-Za-z0-9_]{1,1024})/"
    r"(?P<table>[A-Za-z0-9_]{1,900})(\?location=(?P<location>[A-Za-z0-9-]+))?"
)
TYPES = {pa.string(): "STRING", pa.float64(): "FLOAT64", pa.int32(): "INTEGER"}
RETRY = DEFAULT_RETRY.with_timeout(60.0)  # the client's own would go on for ten minutes
REQUEST_SECONDS, JOB_SECONDS = 60.0, 3600.0
EXPECTED = (GoogleAPIError, GoogleAuthError, RequestException, TimeoutError)

Open = Callable[[], AbstractContextManager[Any]]


@dataclass(frozen=True)
class TableAddress:
    """A table, and the location of its dataset (None: BigQuery finds out)."""

    uri: str
    project: str
    dataset: str
    table: str
    location: str | None

    def at(self, table: str) -> str:
        """The full name of a table in the same dataset."""
        return f"{self.project}.{self.dataset}.{table}"


def parse_table(uri: str) -> TableAddress:
    """The parts of a destination; raises InputError for another form."""
    match = SHAPE.fullmatch(uri)
    if match is None:
        raise InputError(f"destination {uri!r} is no table: write {FORM}.")
    return TableAddress(uri=uri, **match.groupdict())


def replace_table(address: TableAddress, schema: pa.Schema, files: Sequence[Open], n_rows: int) -> None:
    """Replace the content of a table, made if it is not there, by the n_rows rows of Parquet files of this schema.

    Every file is uploaded to a staging table by a load job; when all rows are there, one copy job puts them in place.
    So whoever reads sees the former rows or the new ones, and whatever is interrupted, no row is there twice: the
    staging table has a random name and ends after a day. Raises InputError, with the table as it was, if the table has
    other columns or if BigQuery refuses.
    """
    with _in_words(address), _open_client(address) as client:
        _require_columns(client, address, schema)
        staging = address.at(f"loading_{address.table}_{secrets.token_hex(8)}")
        try:
            _load(client, _create(client, staging, schema, datetime.now(UTC) + timedelta(days=1)), files, n_rows)
            _copy(client, staging, _create(client, address.at(address.table), schema, None))
        finally:
            with suppress(*EXPECTED):  # it ends by itself
                client.delete_table(staging, not_found_ok=True, retry=None, timeout=REQUEST_SECONDS)


def _open_client(address: TableAddress) -> bigquery.Client:
    """Application Default Credentials; anonymous for the emulator that BIGQUERY_EMULATOR_HOST names."""
    credentials = AnonymousCredentials() if os.environ.get("BIGQUERY_EMULATOR_HOST") else None
    return bigquery.Client(project=address.project, credentials=credentials, location=address.location)


def _require_columns(client: bigquery.Client, address: TableAddress, schema: pa.Schema) -> None:
    """A table of other columns holds something else: replacing it is more likely a slip than a wish."""
    client.get_dataset(f"{address.project}.{address.dataset}", retry=RETRY, timeout=REQUEST_SECONDS)
    try:
        there = client.get_table(address.at(address.table), retry=RETRY, timeout=REQUEST_SECONDS).schema
    except NotFound:
        return
    if [field.name for field in there] != schema.names:
        raise InputError(
            f"the table of destination {address.uri!r} has other columns ({', '.join(field.name for field in there)}): "
            "name another table, or delete that one."
        )


def _create(client: bigquery.Client, name: str, schema: pa.Schema, expires: datetime | None) -> bigquery.Table:
    wanted = bigquery.Table(name, schema=[bigquery.SchemaField(field.name, TYPES[field.type]) for field in schema])
    wanted.expires = expires
    return client.create_table(wanted, exists_ok=True, retry=RETRY, timeout=REQUEST_SECONDS)


def _load(client: bigquery.Client, staging: bigquery.Table, files: Sequence[Open], n_rows: int) -> None:
    """A job per file; they run at the same time, and each adds its rows at once or not at all."""
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        schema=staging.schema,
        write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
    )
    jobs = []
    for open_file in files:
        with open_file() as stream:
            jobs.append(
                client.load_table_from_file(stream, staging, num_retries=6, job_config=config, timeout=REQUEST_SECONDS)
            )
    for job in jobs:
        job.result(retry=RETRY, timeout=JOB_SECONDS)
    loaded = client.get_table(staging, retry=RETRY, timeout=REQUEST_SECONDS).num_rows or 0
    if loaded != n_rows:
        raise InputError(f"BigQuery made {loaded:,} rows of {n_rows:,}: the table is as it was; start again.")


def _copy(client: bigquery.Client, staging: str, table: bigquery.Table) -> None:
    config = bigquery.CopyJobConfig(write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE)
    job = client.copy_table(staging, table, job_config=config, retry=RETRY, timeout=REQUEST_SECONDS)
    job.result(retry=RETRY, timeout=JOB_SECONDS)
    there = client.get_table(table, retry=RETRY, timeout=REQUEST_SECONDS)
    there.expires = None  # it may have come along with the copy
    client.update_table(there, ["expires"], retry=RETRY, timeout=REQUEST_SECONDS)


@contextmanager
def _in_words(address: TableAddress) -> Iterator[None]:
    """Say in one sentence what BigQuery refuses."""
    try:
        yield
    except EXPECTED as error:
        said = " ".join(str(getattr(error, "message", "") or error).split()) or type(error).__name__
        raise InputError(
            f"destination {address.uri!r} could not be loaded ({said}): the dataset must be there, and the account "
            "needs BigQuery Data Editor on it and BigQuery Job User on the project. Then start again; nothing is lost."
        ) from error
