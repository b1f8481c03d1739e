"""What a source such as bigquery://project/dataset?location=EU says. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import parse_qsl

from tasks.errors import InputError

FORM = "bigquery://project/dataset?location=EU"
SHAPE = re.compile(r"bigquery://([^/?#]+)/([^/?#]+)(?:\?([^#]*))?")
PROJECT = re.compile(r"(?:[a-z0-9][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
DATASET = re.compile(r"[A-Za-z0-9_]{1,1024}")
LOCATION = re.compile(r"[A-Za-z][A-Za-z0-9-]{1,30}")
OPTIONS = {"location": LOCATION, "billing_project": PROJECT, "scratch": DATASET}


@dataclass(frozen=True)
class BigQueryAddress:
    """Where the tables are, who pays, and where results may be kept.

    source: as it was written, for messages. billing_project: where jobs run. location: None is the dataset's own.
    scratch: a dataset of the billing project for results; None leaves them in BigQuery's anonymous tables.
    """

    source: str
    project: str
    dataset: str
    billing_project: str
    location: str | None = None
    scratch: str | None = None


def parse_address(source: str) -> BigQueryAddress:
    """The parts of a source, each checked: nothing else of it reaches a request or a statement.

    Raises InputError for another form, a part that BigQuery would not take, an unknown part, or one given twice.
    """
    found = SHAPE.fullmatch(source)
    if found is None:
        raise InputError(f"source {source!r} is not of the form {FORM}.")
    project, dataset, query = found.groups(default="")
    options: dict[str, str] = {}
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name not in OPTIONS:
            known = ", ".join(OPTIONS)
            raise InputError(f"source {source!r} says {name!r}: only {known} may follow the question mark.")
        if name in options:
            raise InputError(f"source {source!r} says {name} twice: say it once.")
        options[name] = value
    _require(source, "project", project, PROJECT)
    _require(source, "dataset", dataset, DATASET)
    for name, value in options.items():
        _require(source, name, value, OPTIONS[name])
    return BigQueryAddress(source, project, dataset, **({"billing_project": project} | options))


def _require(source: str, name: str, value: str, pattern: re.Pattern[str]) -> None:
    if not pattern.fullmatch(value):
        raise InputError(f"source {source!r}: {value!r} cannot be a {name.replace('_', ' ')}; write {FORM}.")
