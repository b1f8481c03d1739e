"""Two tables of a BigQuery dataset, queried there and streamed here. Knows nothing of Prefect."""

from __future__ import annotations

import secrets
from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
from google.cloud import bigquery

from tasks.errors import InputError
from tasks.warehouse import bigquery_jobs
from tasks.warehouse.bigquery_address import parse_address
from tasks.warehouse.bigquery_clients import limits, open_client, open_read_client
from tasks.warehouse.bigquery_errors import in_words, over_the_limit
from tasks.warehouse.bigquery_jobs import Parameters
from tasks.warehouse.byte_sizes import format_bytes
from tasks.warehouse.contract import TABLES, UNDATED, check_columns
from tasks.warehouse.sql import read_statement

INTEGERS = {"INTEGER", "INT64"}
# BOOL is no number here, as it is locally: BigQuery does not cast it to FLOAT64.
NUMBERS = INTEGERS | {"FLOAT", "FLOAT64", "NUMERIC", "BIGNUMERIC"}
KEEPS_ITS_DATE = {"TABLE", "SNAPSHOT", "CLONE"}
N_STREAMS = 4  # read in parallel; each holds a page of a few megabytes
N_PAGES_AHEAD = 2


class BigQueryWarehouse:
    """The tables `playlists` and `tracks_headers` of a dataset, as they were when this object was made."""

    def __init__(self, source: str, maximum_bytes_billed: int | None = None) -> None:
        address = parse_address(source)
        with in_words(address), open_client(address) as client:
            tables = {name: client.get_table(address.at(name), **limits()) for name in TABLES}
        for name, table in tables.items():
            check_columns(name, _name(table), {field.name: _type_of(field) for field in table.schema}, _is_kind)
            if address.location and table.location and address.location.lower() != table.location.lower():
                raise InputError(
                    f"{address} says location={address.location}, but the dataset is in {table.location}: "
                    f"write location={table.location}."
                )
        self._address = replace(address, location=address.location or tables["playlists"].location)
        self._maximum_bytes_billed = maximum_bytes_billed
        self._snapshot = {name: _version(table) for name, table in tables.items()}

    def snapshot(self) -> dict[str, str]:
        """Per table what BigQuery says of its last change.

        What does not say it (a view, an external table, a table that rows are just being streamed into) has another
        version every time.
        """
        return self._snapshot

    def estimate_bytes(self, *names: str, parameters: Parameters) -> int:
        """How many bytes BigQuery says the statement would process, without processing them.

        Raises InputError if they are over the limit.
        """
        with in_words(self._address), open_client(self._address) as client:
            size = bigquery_jobs.estimate_bytes(client, self._address, read_statement(*names), parameters)
        limit = self._maximum_bytes_billed
        if limit is not None and size > limit:
            what = f"{names[-1]} would process {format_bytes(size)}, the limit is {format_bytes(limit)}"
            raise InputError(over_the_limit(self._address, what))
        return size

    def query(self, *names: str, parameters: Parameters) -> Iterator[pa.RecordBatch]:
        """Stream the result of the statement that these files of sql/ make, in no particular order.

        Memory does not depend on the size of the result. A query that BigQuery has finished for the same state of the
        tables is not run again. Raises InputError for whatever Google's clients raise.
        """
        address = self._address
        with in_words(address), open_client(address) as client, open_read_client() as reader:
            table = bigquery_jobs.result_table(
                client, address, read_statement(*names), parameters, self._snapshot, self._maximum_bytes_billed
            )
            yield from client.list_rows(table).to_arrow_iterable(
                bqstorage_client=reader, max_queue_size=N_PAGES_AHEAD, max_stream_count=N_STREAMS
            )


def _name(table: bigquery.Table) -> str:
    return f"{table.project}.{table.dataset_id}.{table.table_id}"


def _version(table: bigquery.Table) -> str:
    """What changes exactly if the table's data does; rows in a streaming buffer are in no such figure."""
    if table.table_type not in KEEPS_ITS_DATE:
        kind = str(table.table_type).lower().replace("_", " ")
        return f"{UNDATED}: a {kind} does not carry the date of its data ({secrets.token_hex(8)})"
    if table.streaming_buffer is not None:
        return f"{UNDATED}: rows are being streamed into the table ({secrets.token_hex(8)})"
    return f"{_name(table)}, {table.num_rows} rows, {table.modified.isoformat()}, etag {table.etag}"


def _type_of(field: bigquery.SchemaField) -> str:
    return f"{field.field_type} REPEATED" if field.mode == "REPEATED" else field.field_type


def _is_kind(data_type: str, kind: str) -> bool:
    if kind == "number":
        return data_type in NUMBERS
    return data_type == "STRING" or (kind == "id" and data_type in INTEGERS)
