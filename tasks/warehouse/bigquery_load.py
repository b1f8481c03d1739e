"""A BigQuery dataset as the destination of a load."""

from __future__ import annotations

from google.cloud import bigquery

from tasks.errors import InputError
from tasks.warehouse.bigquery_address import parse_destination
from tasks.warehouse.bigquery_clients import open_client
from tasks.warehouse.bigquery_errors import in_words
from tasks.warehouse.bigquery_tables import LABELS, find_tables, replace_tables
from tasks.warehouse.contract import SCHEMAS
from tasks.warehouse.parts import Tables


class BigQueryDestination:
    """The tables in a dataset that exists; see destinations.py."""

    def __init__(self, uri: str) -> None:
        self._address = parse_destination(uri)

    def check(self) -> None:
        """Raise InputError unless the dataset answers, and its two tables are absent, empty or a loader's."""
        with in_words(self._address), open_client(self._address) as client:
            self._check(client)

    def replace(self, tables: Tables) -> None:
        """Replace both tables once both are loaded beside them; each copy is atomic, the two together are not."""
        with in_words(self._address), open_client(self._address) as client:
            self._check(client)
            replace_tables(client, self._address, tables, SCHEMAS)

    def _check(self, client: bigquery.Client) -> None:
        for name, table in find_tables(client, self._address, SCHEMAS).items():
            # Rows in a streaming buffer are not among num_rows.
            is_empty = not table.num_rows and table.streaming_buffer is None and table.table_type == "TABLE"
            if not is_empty and not LABELS.items() <= table.labels.items():
                raise InputError(
                    f"table {self._address.at(name)} of {self._address} was not loaded there: give another dataset, or "
                    "delete the table."
                )
