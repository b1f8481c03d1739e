"""BigQuery tables are replaced when all parts are whole, against an emulator over HTTP."""

from __future__ import annotations

import hashlib
import io
import re
import secrets
import time
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import BadRequest, Forbidden, NotFound
from google.auth.exceptions import DefaultCredentialsError
from google.cloud import bigquery as google_bigquery

from tasks.errors import InputError
from tasks.warehouse import bigquery_clients
from tasks.warehouse.bigquery_load import BigQueryDestination
from tasks.warehouse.contract import SCHEMAS
from tasks.warehouse.destinations import open_destination
from tasks.warehouse.parts import Part, Tables
from tests.bigquery_emulator import PROJECT, BigQuery
from tests.fake_bigquery import FakeBigQuery, serve


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


def test_rows_in_a_streaming_buffer_are_somebodys(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = {"estimatedRows": "5000", "estimatedBytes": "1", "oldestEntryTime": "1700000000000"}
    with serve(FakeBigQuery(table={"numRows": "0"})) as fake:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", fake.address)
        destination("x").check()
        fake.table["streamingBuffer"] = rows
        with pytest.raises(InputError, match=r"playlists .* was not loaded there"):
            destination("x").check()


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


def test_an_error_between_the_two_copies_says_what_is_new(
    bigquery: BigQuery, dataset: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    destination(dataset).replace(tables("a"))
    copy = google_bigquery.Client.copy_table

    def refuse(client: google_bigquery.Client, source: Any, table: Any, **options: Any) -> Any:
        if table.table_id == "tracks_headers":
            raise Forbidden("no permission")
        return copy(client, source, table, **options)

    with monkeypatch.context() as patch:
        patch.setattr(google_bigquery.Client, "copy_table", refuse)
        with pytest.raises(InputError, match=r"no permission.* playlists is new there, and tracks_headers as it was"):
            destination(dataset).replace(tables("b"))
    assert uris(bigquery.client, dataset) == ["b"]
    assert loaded(bigquery.client, dataset, "tracks_headers")[0]["trackid"] == "a"
    destination(dataset).replace(tables("b"))
    assert loaded(bigquery.client, dataset, "tracks_headers")[0]["trackid"] == "b"


def test_a_dataset_that_is_not_there(bigquery: BigQuery) -> None:
    with pytest.raises(InputError, match=f"is not there .*create the dataset first .bq mk --location=EU {PROJECT}:no"):
        destination("nowhere").check()


def test_no_answer_is_one_sentence_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(bigquery_clients, "SECONDS_TO_RETRY", 1.0)
    began = time.monotonic()
    with pytest.raises(InputError, match=r"BigQuery does not answer for destination .*: no row is loaded twice"):
        destination("x").check()
    assert time.monotonic() - began < 10


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            Forbidden("Access Denied"),
            r"access to destination .*/x.* is denied \(Access Denied\): grant roles/bigquery.dataEditor on dataset "
            rf"{PROJECT}.x and roles/bigquery.jobUser on project {PROJECT}, then",
        ),
        (
            Forbidden("Permission bigquery.tables.create denied on dataset x"),
            rf": grant roles/bigquery.dataEditor on dataset {PROJECT}.x, then start the run again: no row is loaded",
        ),
        (
            Forbidden("User does not have bigquery.jobs.create permission"),
            rf": grant roles/bigquery.jobUser on project {PROJECT}, then",
        ),
        (NotFound("Not found: Dataset x"), rf"create the dataset first \(bq mk --location=EU {PROJECT}:x\)"),
        (NotFound("Dataset x was not found in location US"), rf"give the location of dataset {PROJECT}.x"),
        (BadRequest("No"), r"BigQuery refuses destination .*/x.* \(BadRequest: No\)"),
        (DefaultCredentialsError("none"), r"no Google credentials .*none.*gcloud auth application-default login"),
    ],
)
def test_a_refusal_is_one_sentence(
    error: Exception, said: str, bigquery: BigQuery, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*arguments: Any, **options: Any) -> None:
        raise error

    monkeypatch.setattr(google_bigquery.Client, "get_dataset", refuse)
    with pytest.raises(InputError, match=said):
        destination("x").check()


def test_jobs_run_in_the_project_that_pays(bigquery: BigQuery, dataset: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    request = google_bigquery.Client._call_api

    def call(client: google_bigquery.Client, *arguments: Any, **options: Any) -> Any:
        asked.append(client.project)
        return request(client, *arguments, **options)

    monkeypatch.setattr(google_bigquery.Client, "_call_api", call)
    BigQueryDestination(f"bigquery://{PROJECT}/{dataset}?billing_project=my-project").check()
    assert set(asked) == {"my-project"}


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("bigquery:", "is not of the form bigquery://project/dataset?location=EU"),
        ("bigquery://p", "is not of the form bigquery://project/dataset?location=EU"),
        ("bigquery://project/dataset/table", "is not of the form bigquery://project/dataset?location=EU"),
        ("bigquery://project/a-b", "'a-b' cannot be a dataset; write bigquery://project/dataset?location=EU"),
        ("bigquery://project/a;drop", "'a;drop' cannot be a dataset"),
        ("bigquery://project/d?x=1", "says 'x': only location, billing_project may follow"),
        ("bigquery://project/d?scratch=s", "says 'scratch': only location, billing_project may follow"),
    ],
)
def test_a_name_that_is_no_dataset(uri: str, said: str) -> None:
    with pytest.raises(InputError, match=f"^destination {re.escape(repr(uri))}.*{re.escape(said)}"):
        open_destination(uri)
