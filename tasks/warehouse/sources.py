"""A source by its name: one small interface, whatever the engine. Knows nothing of Prefect."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import pyarrow as pa

from tasks.errors import InputError
from tasks.warehouse.local import LocalWarehouse

Parameters = dict[str, str | int | bool]


class Warehouse(Protocol):
    """A source with the two tables of the contract."""

    def snapshot(self) -> dict[str, str]:
        """Per table what identifies its content: equal exactly if the data is."""

    def query(self, *names: str, parameters: Parameters) -> Iterator[pa.RecordBatch]:
        """Stream the result of the statement that these files of sql/ make, in no particular order."""


def open_warehouse(source: str) -> Warehouse:
    """The warehouse that `source` names: a folder of Parquet tables.

    Raises InputError if the scheme is unknown, or a table or a column is missing or of the wrong type.
    """
    if "://" in source:
        raise InputError(f"source {source!r} has an unknown scheme: give a folder with the Parquet tables.")
    return LocalWarehouse(source)
