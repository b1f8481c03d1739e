"""Tables of a BigQuery dataset, each replaced as a whole: all staged by one load job, then copied into place."""

from __future__ import annotations

import secrets
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import BinaryIO

import pyarrow as pa
import pyarrow.parquet as pq
from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from tasks.errors import InputError
from tasks.warehouse.bigquery_address import BigQueryAddress
from tasks.warehouse.bigquery_clients import limits, open_client, retry
from tasks.warehouse.bigquery_errors import EXPECTED, describe, in_words
from tasks.warehouse.parts import Part, Tables

TYPES = {pa.string(): "STRING", pa.float64(): "FLOAT64", pa.int32(): "INTEGER"}
LABELS = {"loaded-by": "playlist-models"}
SECONDS_PER_JOB = 3600.0
SECONDS_PER_UPLOAD = 300.0  # for a piece of 100 MB, which is one request
UPLOAD_TRIES = 6  # about a minute
BATCH_ROWS = 1 << 16


def replace_table(address: BigQueryAddress, schema: pa.Schema, parts: Sequence[Part]) -> None:
    """Replace the content of the address's table, made if it is not there, by parts of this schema.

    As replace_tables; also raises InputError if the table has other columns.
    """
    with in_words(address), open_client(address) as client:
        # A table of other columns holds something else: replacing it is more likely a slip than a wish.
        for table in find_tables(client, address, [address.table]).values():
            names = [field.name for field in table.schema]
            if names != schema.names:
                raise InputError(
                    f"the table of {address} has other columns ({', '.join(names)}): name another table, or delete "
                    "that one."
                )
        replace_tables(client, address, {address.table: parts}, {address.table: schema})


def find_tables(client: bigquery.Client, address: BigQueryAddress, names: Iterable[str]) -> dict[str, bigquery.Table]:
    """Those of the tables that are there; raises the client's NotFound if even the dataset is not."""
    client.get_dataset(f"{address.project}.{address.dataset}", **limits())
    found = {}
    for name in names:
        with suppress(NotFound):
            found[name] = client.get_table(address.at(name), **limits())
    return found


def replace_tables(
    client: bigquery.Client, address: BigQueryAddress, tables: Tables, schemas: Mapping[str, pa.Schema]
) -> None:
    """Load staging tables; when all of them are whole, copy each over its table, made if need be, in one atomic job.

    Who reads a table sees the former rows or the new ones; of several, in the second between their copies, one new
    table. Staging tables have random names and end after a day, so whatever is interrupted, no row is loaded twice.
    Needs disk for the largest table, compressed. Raises the client's errors, and InputError if rows got lost or only
    some of the tables were replaced.
    """
    staged = {table: address.at(f"loading_{table}_{secrets.token_hex(8)}") for table in tables}
    try:
        for table, parts in tables.items():
            expires = datetime.now(UTC) + timedelta(days=1)
            _load(client, _create(client, staged[table], schemas[table], expires), table, parts, schemas[table])
        _copy_all(client, address, staged, schemas)
    finally:
        for staging in staged.values():
            with suppress(*EXPECTED):  # they end by themselves
                client.delete_table(staging, not_found_ok=True, **limits() | {"retry": None})


def _create(client: bigquery.Client, name: str, schema: pa.Schema, expires: datetime | None = None) -> bigquery.Table:
    """The table itself if it is there, or a new one; an emulator cannot replace what was never created."""
    wanted = bigquery.Table(name, schema=[bigquery.SchemaField(field.name, TYPES[field.type]) for field in schema])
    wanted.labels, wanted.expires = LABELS, expires
    return client.create_table(wanted, exists_ok=True, **limits())


def _load(
    client: bigquery.Client, staging: bigquery.Table, table: str, parts: Sequence[Part], schema: pa.Schema
) -> None:
    """Load all parts with one job: a table takes 1,500 load jobs a day, and a thousand parts would use them up."""
    n_rows = sum(part.rows for part in parts)
    if not n_rows:
        return
    config = bigquery.LoadJobConfig(
        source_format=bigquery.SourceFormat.PARQUET,
        schema=staging.schema,
        write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
    )
    with tempfile.TemporaryFile() as joined:
        _join(parts, schema, joined)
        job = client.load_table_from_file(
            joined, staging, rewind=True, num_retries=UPLOAD_TRIES, job_config=config, timeout=SECONDS_PER_UPLOAD
        )
    job.result(retry=retry(), timeout=SECONDS_PER_JOB)
    if job.output_rows != n_rows:
        raise InputError(
            f"BigQuery made {job.output_rows or 0:,} rows of the {n_rows:,} of table {table!r}: nothing was replaced; "
            "start again."
        )


def _join(parts: Sequence[Part], schema: pa.Schema, target: BinaryIO) -> None:
    """Write all parts as one Parquet file, row batch by row batch."""
    with pq.ParquetWriter(target, schema, compression="zstd") as writer:
        for part in parts:
            with part.open() as source, pq.ParquetFile(source, page_checksum_verification=True) as parquet:
                for batch in parquet.iter_batches(BATCH_ROWS, use_threads=False):
                    writer.write_batch(batch)


def _copy_all(
    client: bigquery.Client, address: BigQueryAddress, staged: Mapping[str, str], schemas: Mapping[str, pa.Schema]
) -> None:
    for i, (table, staging) in enumerate(staged.items()):
        try:
            _copy(client, staging, _create(client, address.at(table), schemas[table]))
        except EXPECTED as error:
            if not i:
                raise
            new, old = (", ".join(names) for names in (list(staged)[:i], list(staged)[i:]))
            raise InputError(
                f"{describe(error, address)} Until a run ends well {new} is new there, and {old} as it was before."
            ) from error


def _copy(client: bigquery.Client, staging: str, table: bigquery.Table) -> None:
    config = bigquery.CopyJobConfig(write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE)
    client.copy_table(staging, table, job_config=config, **limits()).result(retry=retry(), timeout=SECONDS_PER_JOB)
    loaded = client.get_table(table, **limits())
    loaded.labels, loaded.expires = LABELS, None  # whatever came along with the copy
    client.update_table(loaded, ["labels", "expires"], **limits())
