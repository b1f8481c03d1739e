"""BigQuery tables are replaced when all parts are whole, against an emulator over HTTP."""

from __future__ import annotations

import hashlib
import io
import secrets
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import Forbidden
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import bigquery as google_bigquery

from tasks.errors import InputError
from tasks.warehouse import bigquery_load
from tasks.warehouse.bigquery_load import BigQueryDestination
from tasks.warehouse.contract import SCHEMAS
from tasks.warehouse.parts import Part, Tables
from tests.bigquery_emulator import PROJECT, BigQuery


def part(table: str, rows: list[dict[str, Any]]) -> Part:
    stream = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows, schema=SCHEMAS[table]), stream)
    content = stream.getvalue()
    return Part(hashlib.sha256(content).hexdigest(), len(rows), lambda: io.BytesIO(content))


def tables(*uris: str) -> Tables:
    """A part of one playlist's row for each uri, and features of the first."""
    playlists = [part("playlists", [{"unique_pid": "1", "track_uri": uri, "artist_name": "é"}]) for uri in uris]
    return {"playlists": playlists, "tracks_headers": [part("tracks_headers", [{"trackid": uris[0], "tempo": 120.5}])]}


@pytest.fixture
def dataset(bigquery: BigQuery) -> str:
    """A new empty dataset."""
    name = f"loaded_{secrets.token_hex(4)}"
    bigquery.client.create_dataset(f"{PROJECT}.{name}")
    return name


def destination(dataset: str) -> BigQueryDestination:
    return BigQueryDestination(f"bigquery://{PROJECT}/{dataset}?location=EU")


def loaded(client: google_bigquery.Client, dataset: str, table: str = "playlists") -> list[dict[str, Any]]:
    return [dict(row) for row in client.list_rows(f"{PROJECT}.{dataset}.{table}")]


def uris(client: google_bigquery.Client, dataset: str) -> list[str]:
    return sorted(row["track_uri"] for row in loaded(client, dataset))


def names(client: google_bigquery.Client, dataset: str) -> set[str]:
    return {table.table_id for table in client.list_tables(f"{PROJECT}.{dataset}")}


def test_tables_are_created_and_replaced_and_no_row_is_there_twice(bigquery: BigQuery, dataset: str) -> None:
    for given in (("a", "b", "c"), ("a", "b", "c"), ("d",)):
        destination(dataset).replace(tables(*given))
        assert uris(bigquery.client, dataset) == list(given)
    assert names(bigquery.client, dataset) == {"playlists", "tracks_headers"}
    (row,) = loaded(bigquery.client, dataset, "tracks_headers")
    assert (row["trackid"], row["tempo"], row["energy"]) == ("d", 120.5, None)
    assert loaded(bigquery.client, dataset)[0]["artist_name"] == "é"
    types = {
        field.name: field.field_type for field in bigquery.client.get_table(f"{PROJECT}.{dataset}.playlists").schema
    }
    assert set(types.values()) == {"STRING"}


def test_a_table_of_somebody_else_is_not_replaced(bigquery: BigQuery, dataset: str) -> None:
    table = google_bigquery.Table(f"{PROJECT}.{dataset}.playlists", [google_bigquery.SchemaField("x", "STRING")])
    bigquery.client.create_table(table)
    destination(dataset).check()  # an empty one is nobody's loss
    assert not bigquery.client.insert_rows_json(table, [{"x": "mine"}])
    with pytest.raises(InputError, match=f"table {PROJECT}.{dataset}.playlists .* was not loaded there"):
        destination(dataset).replace(tables("a"))
    assert loaded(bigquery.client, dataset) == [{"x": "mine"}]


def test_a_part_that_is_not_whole_replaces_neither_table(bigquery: BigQuery, dataset: str) -> None:
    destination(dataset).replace(tables("a"))
    broken = Part("0" * 64, 1, lambda: io.BytesIO(b"PAR1 and no more"))
    with pytest.raises(pa.ArrowInvalid):
        destination(dataset).replace(tables("b") | {"tracks_headers": [broken]})
    assert uris(bigquery.client, dataset) == ["a"]
    assert names(bigquery.client, dataset) == {"playlists", "tracks_headers"}


def test_rows_that_get_lost_on_the_way_replace_nothing(
    bigquery: BigQuery, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination(dataset).replace(tables("a"))
    monkeypatch.setattr(google_bigquery.LoadJob, "output_rows", 0)
    with pytest.raises(InputError, match="BigQuery made 0 rows of the 1 of table 'playlists': nothing was replaced"):
        destination(dataset).replace(tables("b"))
    assert uris(bigquery.client, dataset) == ["a"]


def test_a_dataset_that_is_not_there(bigquery: BigQuery) -> None:
    with pytest.raises(InputError, match=f"is not there .*create the dataset first .bq mk --location=EU {PROJECT}:no"):
        destination("nowhere").check()


def test_no_answer_is_one_sentence_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(bigquery_load, "RETRY", bigquery_load.RETRY.with_timeout(1.0))
    began = time.monotonic()
    with pytest.raises(InputError, match="BigQuery cannot be reached for destination"):
        destination("x").check()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Forbidden("Access Denied"), r"no access to .*Access Denied.*: grant BigQuery Data Editor on the dataset"),
        (DefaultCredentialsError("none found"), "no credentials for .*gcloud auth application-default login"),
    ],
)
def test_no_access(error: Exception, said: str, bigquery: BigQuery, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(google_bigquery.Client, "get_dataset", refuse)
    with pytest.raises(InputError, match=said):
        destination("x").check()


@pytest.mark.parametrize(
    "uri", ["bigquery://", "bigquery://p", "bigquery://proj/a-b", "bigquery://proj/a;drop", "bigquery://proj/d?x=1"]
)
def test_a_name_that_is_no_dataset(uri: str) -> None:
    with pytest.raises(InputError, match="is no dataset: write bigquery://project/dataset"):
        BigQueryDestination(uri)
