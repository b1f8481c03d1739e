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
from tasks.warehouse.bigquery_address import parse_table
from tasks.warehouse.bigquery_tables import replace_table
from tasks.warehouse.parts import Part
from tests.bigquery_emulator import PROJECT, BigQuery

SCHEMA = pa.schema([("name", pa.string()), ("rank", pa.int32()), ("score", pa.float64())])


def part(*names: str, n_rows: int | None = None) -> Part:
    """n_rows: what it says of itself, if that is wrong."""
    stream = io.BytesIO()
    rows = [{"name": name, "rank": i, "score": i / 2} for i, name in enumerate(names)]
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMA), stream)
    return Part("0" * 64, len(names) if n_rows is None else n_rows, lambda: io.BytesIO(stream.getvalue()))


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
        replace_table(parse_table(destination), SCHEMA, [part("a", "b"), part("c")])
        assert names_in(bigquery, destination) == ["a", "b", "c"]
    replace_table(parse_table(destination), SCHEMA, [part("d")])
    assert names_in(bigquery, destination) == ["d"]
    assert tables_of(bigquery, destination) == ["found"]
    replace_table(parse_table(destination), SCHEMA, [])
    assert names_in(bigquery, destination) == []


def test_rows_that_did_not_arrive_leave_the_table_as_it_was(bigquery: BigQuery, destination: str) -> None:
    replace_table(parse_table(destination), SCHEMA, [part("a")])
    with pytest.raises(InputError, match="made 1 rows of the 2 of table 'found': nothing was replaced"):
        replace_table(parse_table(destination), SCHEMA, [part("b", n_rows=2)])
    assert names_in(bigquery, destination) == ["a"]
    assert tables_of(bigquery, destination) == ["found"]


def test_many_parts_are_one_load_job(bigquery: BigQuery, destination: str, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[str] = []
    load = google_bigquery.Client.load_table_from_file

    def count(client: google_bigquery.Client, stream: Any, table: Any, **options: Any) -> Any:
        started.append(table.table_id)
        return load(client, stream, table, **options)

    monkeypatch.setattr(google_bigquery.Client, "load_table_from_file", count)
    replace_table(parse_table(destination), SCHEMA, [part(f"{i:02}") for i in range(40)])
    assert names_in(bigquery, destination) == [f"{i:02}" for i in range(40)]
    assert len(started) == 1 and started[0].startswith("loading_found_")


def test_a_table_of_other_columns_is_left_alone(bigquery: BigQuery, destination: str) -> None:
    replace_table(parse_table(destination), SCHEMA, [part("a")])
    other = pa.schema([("unique_pid", pa.string())])
    with pytest.raises(InputError, match=r"has other columns \(name, rank, score\): name another table"):
        replace_table(parse_table(destination), other, [])
    assert names_in(bigquery, destination) == ["a"]


def test_a_dataset_that_is_not_there_is_one_sentence(bigquery: BigQuery) -> None:
    with pytest.raises(InputError, match=r"is not there .*create the dataset first .bq mk --location=EU .*:nowhere"):
        replace_table(parse_table(f"bigquery://{PROJECT}/nowhere/found"), SCHEMA, [part("a")])


def test_a_refusal_is_one_sentence_and_leaves_no_staging_table(
    bigquery: BigQuery, destination: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise Forbidden("no permission bigquery.tables.copy")

    replace_table(parse_table(destination), SCHEMA, [part("a")])
    monkeypatch.setattr(google_bigquery.Client, "copy_table", refuse)
    with pytest.raises(InputError, match="no permission"):
        replace_table(parse_table(destination), SCHEMA, [part("b")])
    assert names_in(bigquery, destination) == ["a"]
    assert tables_of(bigquery, destination) == ["found"]


@pytest.mark.parametrize(
    "uri",
    ["table", "bigquery://project/d", "bigquery://project/d/t;DROP", "bigquery://project/../t", "gs://bucket/d/t", ""],
)
def test_another_form_is_one_sentence(uri: str) -> None:
    with pytest.raises(InputError, match=r"^destination .*bigquery://project/dataset/table\?location=EU\.$"):
        parse_table(uri)
