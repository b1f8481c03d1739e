"""A destination by its name: one small interface, whatever the engine. Knows nothing of Prefect."""

from __future__ import annotations

from typing import Protocol

from tasks.errors import InputError
from tasks.warehouse.bigquery_address import FORM, SCHEME
from tasks.warehouse.bigquery_load import BigQueryDestination
from tasks.warehouse.local_load import LocalDestination
from tasks.warehouse.parts import Tables


class Destination(Protocol):
    """Where the two tables of the contract are put."""

    def check(self) -> None:
        """Raise InputError if it cannot be written, or holds what no loader put there. Changes nothing."""

    def replace(self, tables: Tables) -> None:
        """Put these tables in the place of what is there; after an error, that is still there, or the error says that
        only one of two tables of BigQuery is.

        Doing it again changes nothing. Raises InputError as `check` does, or if the place fails.
        """


def open_destination(uri: str) -> Destination:
    """The destination that `uri` names: a local folder, or bigquery://project/dataset.

    Raises InputError if the scheme is unknown or the name is none.
    """
    if uri.startswith(SCHEME):
        return BigQueryDestination(uri)
    if "://" in uri:
        raise InputError(f"destination {uri!r} has an unknown scheme: give a local folder or {FORM}.")
    return LocalDestination(uri)
