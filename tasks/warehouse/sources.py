"""A source by its name: one small interface, whatever the engine. Knows nothing of Prefect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from tasks.errors import InputError
from tasks.warehouse.bigquery import BigQueryWarehouse
from tasks.warehouse.bigquery_address import FORM, SCHEME
from tasks.warehouse.local import LocalWarehouse

Parameters = dict[str, str | int | bool]


class Warehouse(Protocol):
    """A source with the two tables of the contract."""

    def snapshot(self) -> dict[str, str]:
        """Per table what identifies its content: equal exactly if the data is.

        A table that cannot tell has another version every time, which begins with contract.UNDATED.
        """

    def estimate_bytes(self, *names: str, parameters: Parameters) -> int | None:
        """How many bytes the statement would be billed for; None where nothing is.

        Raises InputError if they are over the limit that the warehouse was opened with.
        """

    def query(self, *names: str, parameters: Parameters) -> Iterator[pa.RecordBatch]:
        """Stream the result of the statement that these files of sql/ make, in no particular order."""


def open_warehouse(source: str, maximum_bytes_billed: int | None = None) -> Warehouse:
    """The warehouse that `source` names: a folder of Parquet tables, or bigquery://project/dataset.

    No query may be billed for more than maximum_bytes_billed. Raises InputError if the scheme is unknown, the warehouse
    cannot be reached, or a table or a column is missing or of the wrong type.
    """
    if source.startswith(SCHEME):
        return BigQueryWarehouse(source, maximum_bytes_billed)
    if "://" in source:
        raise InputError(f"source {source!r} has an unknown scheme: give a folder with the Parquet tables, or {FORM}.")
    return LocalWarehouse(source)
