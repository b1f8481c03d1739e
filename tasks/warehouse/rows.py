"""Given rows in the form of the source contract: what is kept, and why the rest is not. Pure: no Prefect, no Google."""

from __future__ import annotations

from collections import Counter
from typing import NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from tasks.warehouse.contract import KEYS, SCHEMAS, TABLES

SPOTIFY_ID = r"^([0-9A-Za-z]{22})$"
NUMBER = r"^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$"
NO_VALUE = r"(?i)^(na|nan|n/a|null|none|\\n|[+-]?inf(inity)?)$"  # how programs write "no number" into a CSV


class UnreadableError(Exception):
    """An input file cannot be used, whoever reads it: the reason, without the file's name."""


class Rows(NamedTuple):
    """Some rows of a table. rejected: rows that are not among them, by reason. nulled: values lost, by reason."""

    table: pa.Table
    rejected: Counter[str]
    nulled: Counter[str]


def clean_rows(table: str, given: pa.Table) -> Rows:
    """Bring rows into the contract's schema of `table`; a contract column that is not given is NULL.

    Ids become text, and a bare Spotify id (22 letters and digits) a uri, so that `4uLU6hMCjMI75M1A2tKUQC` in one table
    meets `spotify:track:4uLU6hMCjMI75M1A2tKUQC` in the other; any other id stays as it is. Features become float64;
    a text that is no number becomes NULL and is counted. A row without an id is rejected. Repeated rows stay: every
    extract counts them once. Raises UnreadableError if a column has a type that is not allowed.
    """
    nulled: Counter[str] = Counter()
    columns = []
    for name, kind in TABLES[table].items():
        if name not in given.column_names:
            columns.append(pa.nulls(given.num_rows, SCHEMAS[table].field(name).type))
        elif kind == "number":
            columns.append(_numbers(name, given[name], nulled))
        else:
            text = _texts(name, given[name], is_id=kind == "id")
            columns.append(_uris(text) if name in ("track_uri", "trackid") else text)
    cleaned = pa.table(columns, schema=SCHEMAS[table])
    rejected: Counter[str] = Counter()
    for key in KEYS[table]:
        is_there = pc.fill_null(pc.not_equal(cleaned[key], ""), False)
        rejected[f"{key} missing"] += cleaned.num_rows - (pc.sum(is_there).as_py() or 0)
        cleaned = cleaned.filter(is_there)
    return Rows(cleaned, +rejected, +nulled)


def _texts(name: str, values: pa.ChunkedArray, *, is_id: bool) -> pa.ChunkedArray:
    data_type = _plain_type(values)
    if is_id and pa.types.is_floating(data_type):  # how pandas keeps integers among missing values
        values = values.cast(pa.float64())
        try:
            return pc.if_else(pc.is_nan(values), None, values).cast(pa.int64()).cast(pa.string())
        except pa.ArrowInvalid as error:
            raise UnreadableError(f"column {name!r} has numbers that are no integers: it must be text") from error
    if _is_text(data_type) or pa.types.is_null(data_type) or (is_id and pa.types.is_integer(data_type)):
        return values.cast(pa.string())
    wanted = "an integer or text" if is_id else "text"
    raise UnreadableError(f"column {name!r} is {data_type}: it must be {wanted}")


def _uris(ids: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.replace_substring_regex(ids, SPOTIFY_ID, r"spotify:track:\1")


def _numbers(name: str, values: pa.ChunkedArray, nulled: Counter[str]) -> pa.ChunkedArray:
    data_type = _plain_type(values)
    if _is_text(data_type):
        text = pc.utf8_trim_whitespace(values.cast(pa.string()))
        is_number = pc.match_substring_regex(text, NUMBER)
        is_known = pc.or_(is_number, pc.or_(pc.equal(text, ""), pc.match_substring_regex(text, NO_VALUE)))
        numbers = pc.if_else(is_number, text, None).cast(pa.float64())
        is_too_large = pc.is_inf(numbers)  # 1e999
        for is_lost in (pc.invert(is_known), is_too_large):
            nulled[f"{name} is no number"] += pc.sum(is_lost).as_py() or 0
        return pc.if_else(is_too_large, None, numbers)
    types = pa.types
    if types.is_integer(data_type) or types.is_decimal(data_type) or types.is_boolean(data_type):
        return values.cast(pa.float64(), safe=False)
    if types.is_floating(data_type) or types.is_null(data_type):
        return values.cast(pa.float64())
    raise UnreadableError(f"column {name!r} is {data_type}: it must be a number")


def _plain_type(values: pa.ChunkedArray) -> pa.DataType:
    return values.type.value_type if pa.types.is_dictionary(values.type) else values.type


def _is_text(data_type: pa.DataType) -> bool:
    return pa.types.is_string(data_type) or pa.types.is_large_string(data_type) or pa.types.is_string_view(data_type)
