"""A table is replaced as a whole or not at all, against an emulator over HTTP."""

from __future__ import annotations

import io
import secrets
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import Forbidden
from google.cloud import bigquery as google_bigquery

from tasks.errors import InputError
from tasks.warehouse.bigquery_replace import Open, parse_table, replace_table
from tests.bigquery_emulator import PROJECT, BigQuery

SCHEMA = pa.schema([("name", pa.string()), ("rank", pa.int32()), ("score", pa.float64())])


def file_of(*names: str) -> Open:
    stream = io.BytesIO()
    rows = [{"name": name, "rank": i, "score": i / 2} for i, name in enumerate(names)]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), stream)
    return lambda: io.BytesIO(stream.getvalue())


@pytest.fixture
def destination(bigquery: BigQuery) -> str:
    dataset = f"to_{secrets.token_hex(4)}"
    bigquery.client.create_dataset(f"{PROJECT}.{dataset}")
    return f"bigquery://{PROJECT}/{dataset}/found?location=EU"


def names_in(bigquery: BigQuery, destination: str) -> list[str]:
    address = parse_table(destination)
    rows = bigquery.client.query(f"SELECT * FROM `{address.at('found')}` ORDER BY name").result()
    return [row["name"] for row in rows]


def tables_of(bigquery: BigQuery, destination: str) -> list[str]:
    address = parse_table(destination)
    return [table.table_id for table in bigquery.client.list_tables(f"{PROJECT}.{address.dataset}")]


def test_a_table_is_made_replaced_and_loaded_again(bigquery: BigQuery, destination: str) -> None:
    for _ in range(2):  # the second changes nothing
        replace_table(parse_table(destination), SCHEMA, [file_of("a", "b"), file_of("c")], 3)
        assert names_in(bigquery, destination) == ["a", "b", "c"]
    replace_table(parse_table(destination), SCHEMA, [file_of("d")], 1)
    assert names_in(bigquery, destination) == ["d"]
    assert tables_of(bigquery, destination) == ["found"]
    replace_table(parse_table(destination), SCHEMA, [], 0)
    assert names_in(bigquery, destination) == []


def test_rows_that_did_not_arrive_leave_the_table_as_it_was(bigquery: BigQuery, destination: str) -> None:
    replace_table(parse_table(destination), SCHEMA, [file_of("a")], 1)
    with pytest.raises(InputError, match="made 1 rows of 2: the table is as it was"):
        replace_table(parse_table(destination), SCHEMA, [file_of("b")], 2)
    assert names_in(bigquery, destination) == ["a"]
    assert tables_of(bigquery, destination) == ["found"]


def test_a_table_of_other_columns_is_left_alone(bigquery: BigQuery, destination: str) -> None:
    replace_table(parse_table(destination), SCHEMA, [file_of("a")], 1)
    other = pa.schema([("unique_pid", pa.string())])
    with pytest.raises(InputError, match=r"has other columns \(name, rank, score\): name another table"):
        replace_table(parse_table(destination), other, [], 0)
    assert names_in(bigquery, destination) == ["a"]


def test_a_dataset_that_is_not_there_is_one_sentence(bigquery: BigQuery) -> None:
    with pytest.raises(InputError, match=r"could not be loaded \(.*nowhere.*\): the dataset must be there"):
        replace_table(parse_table(f"bigquery://{PROJECT}/nowhere/found"), SCHEMA, [file_of("a")], 1)


def test_a_refusal_is_one_sentence_and_leaves_no_staging_table(
    bigquery: BigQuery, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise Forbidden("no permission bigquery.tables.copy")

    replace_table(parse_table(destination), SCHEMA, [file_of("a")], 1)
    monkeypatch.setattr(google_bigquery.Client, "copy_table", refuse)
    with pytest.raises(InputError, match="no permission"):
        replace_table(parse_table(destination), SCHEMA, [file_of("b")], 1)
    assert names_in(bigquery, destination) == ["a"]
    assert tables_of(bigquery, destination) == ["found"]


@pytest.mark.parametrize(
    "uri",
    ["table", "bigquery://p/d", "bigquery://project/d/t;DROP", "bigquery://project/../t", "gs://bucket/d/t", ""],
)
def test_another_form_is_one_sentence(uri: str) -> None:
    with pytest.raises(InputError, match="is no table: write bigquery://project/dataset/table"):
        parse_table(uri)
