"""What a source such as bigquery://project/dataset?location=EU says, or a destination of such a form. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal
from urllib.parse import parse_qsl

from tasks.errors import InputError

SCHEME = "bigquery:"
FORM = "bigquery://project/dataset?location=EU"
TABLE_FORM = "bigquery://project/dataset/table?location=EU"
SHAPE = re.compile(r"bigquery://([^/?#]+)/([^/?#]+)(?:/([^/?#]+))?(?:\?([^#]*))?")
PROJECT = re.compile(r"(?:[a-z0-9][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
TABLE = re.compile(r"[A-Za-z0-9_]{1,900}")  # BigQuery takes 1,024: a staging table's name is longer than the table's
LOCATION = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}")
OPTIONS = {"location": LOCATION, "billing_project": PROJECT}
PARTS = {"project": PROJECT, "dataset": DATASET, "table": TABLE, "scratch": DATASET} | OPTIONS

Kind = Literal["source", "destination"]


@dataclass(frozen=True)
class BigQueryAddress:
    """Where the tables are, who pays, and where results may be kept. As text: what to call it in a message.

    uri: as it was written. billing_project: where jobs run. table: "" if all of a dataset is meant. location: None is
    the dataset's own. scratch: a dataset of the billing project for results; None leaves them in BigQuery's anonymous
    tables.
    """

    kind: Kind
    uri: str
    project: str
    dataset: str
    billing_project: str
    table: str = ""
    location: str | None = None
    scratch: str | None = None

    def __str__(self) -> str:
        return f"{self.kind} {self.uri!r}"

    def at(self, table: str) -> str:
        """The full name of a table of the dataset."""
        return f"{self.project}.{self.dataset}.{table}"


def parse_address(source: str) -> BigQueryAddress:
    """The parts of a source, each checked: nothing else of it reaches a request or a statement.

    Raises InputError for another form, a part that BigQuery would not take, an unknown part, or one given twice.
    """
    return _parse("source", source, FORM, (*OPTIONS, "scratch"))


def parse_destination(uri: str) -> BigQueryAddress:
    """The same of a dataset to be loaded, which takes no scratch."""
    return _parse("destination", uri, FORM, tuple(OPTIONS))


def parse_table(uri: str) -> BigQueryAddress:
    """The same of a single table to be loaded."""
    return _parse("destination", uri, TABLE_FORM, tuple(OPTIONS))


def _parse(kind: Kind, uri: str, form: str, allowed: tuple[str, ...]) -> BigQueryAddress:
    found = SHAPE.fullmatch(uri)
    if found is None or (found[3] is not None) != (form is TABLE_FORM):
        raise InputError(f"{kind} {uri!r} is not of the form {form}.")
    project, dataset, table, query = found.groups(default="")
    parts = {"project": project, "dataset": dataset} | ({"table": table} if table else {})
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in allowed:
            known = ", ".join(allowed)
            raise InputError(f"{kind} {uri!r} says {name!r}: only {known} may follow the question mark.")
        if name in parts:
            raise InputError(f"{kind} {uri!r} says {name} twice: say it once.")
        parts[name] = value
    for name, value in parts.items():
        if not PARTS[name].fullmatch(value):
            raise InputError(f"{kind} {uri!r}: {value!r} cannot be a {name.replace('_', ' ')}; write {form}.")
    return BigQueryAddress(kind, uri, **({"billing_project": project} | parts))
