"""The same source on both engines, and one sentence for everything that BigQuery may say."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from google.api_core.exceptions import Forbidden

from tasks.errors import InputError
from tasks.warehouse import bigquery_clients, bigquery_jobs
from tasks.warehouse.bigquery_address import parse_address
from tasks.warehouse.contract import FEATURES, MEMBERSHIPS, TRACKS, UNDATED, dated
from tasks.warehouse.sources import open_warehouse
from tests.bigquery_emulator import PROJECT, BigQuery
from tests.conftest import SAMPLE_WAREHOUSE, free_port
from tests.fake_bigquery import FakeBigQuery, Job, serve
from tests.warehouses import Row, member, track, write

NAN, INF = float("nan"), float("inf")
DRAWN: dict[str, Any] = {"seed": "7", "min_tracks": 2, "n_playlists": 20}


def extracts(source: str, **parameters: Any) -> dict[str, list[Row]]:
    """Everything that is asked of a source, each result as sorted rows of the contract's types."""
    warehouse, drawn = open_warehouse(source), DRAWN | parameters
    asked = {"census": (("census",), {}, None), "memberships": (("sample", "memberships"), drawn, MEMBERSHIPS)}
    for whole in (False, True):
        asked[f"tracks {whole}"] = (("sample", "tracks"), drawn | {"whole_catalogue": whole}, TRACKS)
    return {
        name: sorted(
            (
                row
                for batch in warehouse.query(*files, parameters=values)
                for row in (batch.cast(schema) if schema else batch).to_pylist()
            ),
            key=str,
        )
        for name, (files, values, schema) in asked.items()
    }


def faulty(*, is_integer: bool) -> tuple[list[Row], list[Row]]:
    """Everything that can be wrong within the contract."""
    pid = {"p": 1, "q": -2, "one": 3} if is_integer else {"p": "p", "q": "it's 🎧", "one": "one"}
    headers = [
        track("t1", energy=NAN, tempo=INF, loudness=-INF),
        track("t2", key=9),
        track("t2", key=2),
        track("t2", key=None),
        track("t3", **dict.fromkeys(FEATURES, NAN)),
        track("t4", time_signature=None),
        track("t4", time_signature=None),
        track(None),
    ]
    playlists = [
        *[member(pid["p"], uri) for uri in ("t1", "t1", "t2", "t3", None, "unknown")],
        *[member(None, uri) for uri in ("t1", "t2")],
        member(pid["one"], "t1"),
        *[member(pid["q"], "t1", artist="Z", album='say "x"'), member(pid["q"], "t2", artist=None)],
        member(pid["q"], "t4", artist=None, name=None, album=None),
    ]
    return playlists, headers


@pytest.mark.parametrize("is_integer", [True, False], ids=["integers", "strings"])
def test_planted_faults_give_the_same_extracts_on_both_engines(
    is_integer: bool, bigquery: BigQuery, tmp_path: Path
) -> None:
    folder = write(tmp_path, *faulty(is_integer=is_integer))
    local = extracts(folder)
    assert extracts(bigquery.load(folder, f"faults_{is_integer}")) == local
    assert [row["track_id"] for row in local["tracks False"]] == ["t1", "t2", "t4"]
    assert len(local["memberships"]) == 5
    assert local["census"] == [
        {"n_playlists": 3, "n_memberships": 10, "n_tracks": 5, "n_tracks_with_features": 4},
    ]


def test_real_playlists_give_the_same_extracts_on_both_engines(bigquery: BigQuery) -> None:
    local = extracts(str(SAMPLE_WAREHOUSE), min_tracks=10)
    assert extracts(bigquery.load(SAMPLE_WAREHOUSE, "real"), min_tracks=10) == local
    assert len(local["tracks True"]) > 15_000


def test_an_empty_table_is_no_rows(bigquery: BigQuery, tmp_path: Path) -> None:
    folder = write(tmp_path, [member("p", "t1"), member("p", "t2")], [track("t1"), track("t2")])
    path = tmp_path / "tracks_headers.parquet"
    pq.write_table(pq.read_table(path).slice(0, 0), path)
    found = extracts(bigquery.load(folder, "empty"))
    assert found == extracts(folder)
    assert found["memberships"] == found["tracks True"] == []


def test_what_is_missing_is_said_in_the_same_words(bigquery: BigQuery, tmp_path: Path) -> None:
    folder = Path(write(tmp_path, [member(1, "t1")], [track("t1")]))
    whole = pq.read_table(folder / "playlists.parquet")
    for changed, said in [
        (whole.drop_columns("album_name"), "table 'playlists' has no column 'album_name'"),
        (whole.set_column(0, "unique_pid", [[1.5]]), "column 'unique_pid' of table 'playlists' is FLOAT64: it must be"),
    ]:
        pq.write_table(changed, folder / "playlists.parquet")
        source = bigquery.load(folder, "missing")
        with pytest.raises(InputError, match=re.escape(said)):
            open_warehouse(source)
    bigquery.client.delete_table(f"{PROJECT}.missing.playlists")
    with pytest.raises(InputError, match=r"is not there .*playlists.*put the tables playlists and tracks_headers into"):
        open_warehouse(source)
    with pytest.raises(InputError, match=r"is not there .*check project and dataset"):
        open_warehouse(f"bigquery://{PROJECT}/nowhere")


def test_the_snapshot_moves_with_the_tables_alone(bigquery: BigQuery, tmp_path: Path) -> None:
    folder = write(tmp_path, [member("p", "t1")], [track("t1")])
    source = bigquery.load(folder, "moving")
    before = open_warehouse(source).snapshot()
    assert open_warehouse(source).snapshot() == before == dated(before)
    write(tmp_path, [member("p", "t1")], [track("t1"), track("t2")])
    (tmp_path / "playlists.parquet").unlink()
    bigquery.load(folder, "moving")
    after = open_warehouse(source).snapshot()
    assert after["playlists"] == before["playlists"] and after["tracks_headers"] != before["tracks_headers"]


def test_a_view_gives_the_same_extracts_and_a_new_snapshot_every_time(bigquery: BigQuery, tmp_path: Path) -> None:
    folder = write(tmp_path, [member("p", "t1"), member("p", "t2")], [track("t1"), track("t2")])
    source = bigquery.load_as_view(folder, "view")
    one, other = open_warehouse(source).snapshot(), open_warehouse(source).snapshot()
    assert one["playlists"].startswith(UNDATED) and one["playlists"] != other["playlists"]
    assert dated(one) == dated(other) and dated(one).keys() == {"tracks_headers"}
    assert extracts(source) == extracts(folder)


ADDRESSES = [
    ("bigquery://test-project", "is not of the form bigquery://project/dataset?location=EU"),
    ("bigquery:test-project/x", "is not of the form"),
    ("bigquery://test-project/x/y", "is not of the form"),
    ("bigquery://Test/x", "'Test' cannot be a project"),
    ("bigquery://test-project/a-b", "'a-b' cannot be a dataset"),
    ("bigquery://test-project/a`b", "cannot be a dataset"),
    ("bigquery://test-project/x?location=", "'' cannot be a location"),
    ("bigquery://test-project/x?scratch=a.b", "'a.b' cannot be a scratch"),
    ("bigquery://test-project/x?billing_project=;DROP", "';DROP' cannot be a billing project"),
    ("bigquery://test-project/x?region=EU", "says 'region': only location, billing_project, scratch may follow the"),
    ("bigquery://test-project/x?location=EU&location=US", "says location twice"),
]


@pytest.mark.parametrize(("source", "said"), ADDRESSES)
def test_a_wrong_address_is_one_sentence(source: str, said: str) -> None:
    with pytest.raises(InputError, match=re.escape(said)):
        open_warehouse(source)


def test_an_address_says_where_and_who_pays() -> None:
    found = parse_address("bigquery://example.com:the-data/songs?location=europe-west1&billing_project=my-project")
    assert (found.project, found.dataset, found.location) == ("example.com:the-data", "songs", "europe-west1")
    assert (found.billing_project, found.scratch) == ("my-project", None)
    assert parse_address("bigquery://the-data/songs").billing_project == "the-data"


# What no emulator does.

SOURCE = "bigquery://test-project/songs"


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeBigQuery]:
    with serve(FakeBigQuery()) as server:
        monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", server.address)
        monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", f"127.0.0.1:{free_port()}")
        yield server


def result_name(source: str = SOURCE, maximum: int | None = None) -> str:
    """The table that a query's result is in, found without reading it."""
    address = parse_address(source)
    with bigquery_clients.open_client(address) as client:
        table = bigquery_jobs.result_table(client, address, "SELECT 1", {"seed": "7"}, {"playlists": "1"}, maximum)
    return str(table.table_id)


def test_a_query_over_the_limit_is_refused_before_it_is_charged(fake: FakeBigQuery) -> None:
    fake.n_bytes = 5_000_000_000
    said = "census would process 5.0 GB, the limit is 1.0 GB): raise sample.maximum_bytes_billed"
    with pytest.raises(InputError, match=re.escape(said)):
        open_warehouse(SOURCE, 1_000_000_000).estimate_bytes("census", parameters={})
    assert open_warehouse(SOURCE, 5_000_000_000).estimate_bytes("census", parameters={}) == 5_000_000_000
    assert fake.started == []


def test_the_limit_is_set_on_the_job_too(fake: FakeBigQuery) -> None:
    result_name(maximum=12345)
    (body,) = fake.started
    assert body["configuration"]["query"]["maximumBytesBilled"] == "12345"
    assert body["configuration"]["query"]["defaultDataset"] == {"projectId": "test-project", "datasetId": "songs"}
    assert re.fullmatch(r"playlist-models-[0-9a-f]{40}-0", body["jobReference"]["jobId"])


@pytest.mark.parametrize("job", [Job(), Job(n_looks=3)], ids=["finished", "running"])
def test_a_job_that_exists_is_not_paid_for_again(job: Job, fake: FakeBigQuery) -> None:
    fake.jobs = {0: job}
    assert result_name() == "result"
    assert fake.started == [] and job.n_looks == 0


def test_the_rows_of_a_job_that_exists_are_streamed(
    fake: FakeBigQuery, bigquery_server: BigQuery, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    rows = [member("p", f"t{i}") for i in range(1000)]
    bigquery_server.load(write(tmp_path, rows, [track("t1")]), "results")
    monkeypatch.setenv("BIGQUERY_STORAGE_EMULATOR_HOST", bigquery_server.environment["BIGQUERY_STORAGE_EMULATOR_HOST"])
    fake.jobs, fake.destination = {0: Job()}, (PROJECT, "results", "playlists")
    batches = open_warehouse(SOURCE).query("census", parameters={})
    assert [row for batch in batches for row in batch.to_pylist()] == rows
    assert fake.started == []


@pytest.mark.parametrize("job", [Job(error="quotaExceeded"), Job(query="SELECT 2")], ids=["failed", "another query"])
def test_a_job_that_cannot_be_used_is_followed_by_the_next_attempt(job: Job, fake: FakeBigQuery) -> None:
    fake.jobs = {0: job, 1: job}
    assert result_name() == "result"
    (body,) = fake.started
    assert body["jobReference"]["jobId"].endswith("-2")


def test_a_job_of_somebody_else_is_followed_by_the_next_attempt(fake: FakeBigQuery) -> None:
    fake.jobs = {0: Job()}
    fake.refusals = {r"GET .*/jobs/": (403, "accessDenied", "Access Denied: Job x")}
    assert result_name() == "result"
    assert len(fake.started) == 1


@pytest.mark.parametrize(
    ("asked", "status", "reason"),
    [
        (r"GET .*/tables/result", 404, "notFound"),  # it has expired
        (r"GET .*/tables/result", 403, "accessDenied"),  # it is hidden: another account's
        (r"GET .*/tables/result/data", 403, "accessDenied"),
    ],
)
def test_a_result_that_cannot_be_read_is_followed_by_the_next_attempt(
    asked: str, status: int, reason: str, fake: FakeBigQuery
) -> None:
    fake.jobs = {0: Job()}
    fake.passing = [(asked, status, reason, "Table x")]
    assert result_name() == "result"
    assert len(fake.started) == 1


def test_the_result_of_a_new_job_must_be_readable(fake: FakeBigQuery) -> None:
    fake.refusals = {r"GET .*/tables/result": (403, "accessDenied", "Access Denied: Table x")}
    with pytest.raises(Forbidden, match="Access Denied"):
        result_name()
    assert len(fake.started) == 1


def test_what_passes_is_tried_again_by_the_client(fake: FakeBigQuery) -> None:
    fake.passing = [
        (r"GET .*/tables/playlists", 503, "backendError", "later"),
        (r"POST .*/jobs", 429, "rateLimitExceeded", "slowly"),
    ]
    assert open_warehouse(SOURCE).estimate_bytes("census", parameters={}) == 1000
    assert fake.passing == []


def test_a_fault_of_bigquery_in_a_new_job_is_tried_again_twice(fake: FakeBigQuery) -> None:
    fake.outcomes = {0: "backendError", 1: "internalError"}
    assert result_name() == "result"
    assert len(fake.started) == 3
    fake.outcomes[2] = "backendError"
    with pytest.raises(Exception, match="it ended as backendError"):
        result_name()
    assert len(fake.started) == 6


def test_scratch_keeps_the_result_for_a_day_under_a_name_of_its_own(fake: FakeBigQuery) -> None:
    name = result_name("bigquery://test-project/songs?billing_project=my-project&scratch=kept")
    (body,) = fake.started
    statement = body["configuration"]["query"]["query"]
    assert re.fullmatch(r"sample_[0-9a-f]{40}", name)
    assert statement.startswith(f"CREATE TABLE IF NOT EXISTS `my-project.kept.{name}` OPTIONS (expiration_timestamp = ")
    assert statement.endswith("INTERVAL 1 DAY)) AS\nSELECT 1")


BYTES = "a query on source 'bigquery://test-project/songs' is over the limit of bytes"
REFUSALS = [
    (r"/jobs", 400, "bytesBilledLimitExceeded", "Query exceeded limit for bytes billed: 10.", BYTES),
    (r"/jobs", 403, "quotaExceeded", "Quota exceeded", "BigQuery's quota is used up (Quota exceeded)"),
    (
        r"/jobs",
        403,
        "accessDenied",
        "Access Denied: Project p: User does not have bigquery.jobs.create permission in project p.",
        "grant roles/bigquery.jobUser on project test-project",
    ),
    (
        r"/tables",
        403,
        "accessDenied",
        "Access Denied: Table p:d.t",
        "grant roles/bigquery.dataViewer on dataset test-p",
    ),
    (r"/tables", 403, "accessDenied", "No.", "roles/bigquery.jobUser and roles/bigquery.readSessionUser on project"),
    (
        r"/tables",
        403,
        "accessNotConfigured",
        "BigQuery API has not been used in project 1 before or it is disabled.",
        "gcloud services enable bigquery.googleapis.com bigquerystorage.googleapis.com --project test-project",
    ),
    (r"/jobs", 403, "billingNotEnabled", "Billing!", "project test-project has no billing account (Billing!)"),
    (r"/tables", 401, "authError", "Invalid Credentials", "run `gcloud auth application-default login`"),
    (r"/tables", 404, "notFound", "Not found: Dataset p:d", "check project and dataset (test-project.songs)"),
    (
        r"/jobs",
        404,
        "notFound",
        "Not found: Dataset p:d was not found in location US",
        "give the location of dataset test-project.songs",
    ),
    (r"/jobs", 400, "invalidQuery", "Unrecognized name: x at [1:8]", "(invalidQuery: Unrecognized name: x at [1:8])"),
]


@pytest.mark.parametrize(("where", "status", "reason", "message", "said"), REFUSALS)
def test_a_refusal_is_one_sentence(
    where: str, status: int, reason: str, message: str, said: str, fake: FakeBigQuery
) -> None:
    fake.refusals = {where: (status, reason, message)}
    with pytest.raises(InputError) as error:
        list(open_warehouse(SOURCE).query("census", parameters={}))
    assert said in str(error.value)
    assert "\n" not in str(error.value) and "http://" not in str(error.value)


def test_the_byte_limit_as_a_failed_job_is_the_same_sentence(fake: FakeBigQuery) -> None:
    fake.outcomes = {0: "bytesBilledLimitExceeded"}
    with pytest.raises(InputError, match=re.escape(BYTES)):
        list(open_warehouse(SOURCE).query("census", parameters={}))
    assert len(fake.started) == 1


@pytest.mark.parametrize("kind", ["VIEW", "EXTERNAL", "MATERIALIZED_VIEW"])
def test_a_table_that_cannot_tell_its_date_is_never_the_same(kind: str, fake: FakeBigQuery) -> None:
    fake.table = {"type": kind}
    one, other = open_warehouse(SOURCE).snapshot(), open_warehouse(SOURCE).snapshot()
    words = kind.lower().replace("_", " ")
    assert one["playlists"].startswith(f"{UNDATED}: a {words} does not carry the date of its data")
    assert one != other and dated(one) == dated(other) == {}


def test_rows_in_a_streaming_buffer_have_no_date(fake: FakeBigQuery) -> None:
    fake.table = {"streamingBuffer": {"estimatedRows": "1"}}
    assert dated(open_warehouse(SOURCE).snapshot()) == {}


def test_another_location_is_one_sentence(fake: FakeBigQuery) -> None:
    said = "says location=US, but the dataset is in EU: write location=EU."
    with pytest.raises(InputError, match=re.escape(said)):
        open_warehouse(f"{SOURCE}?location=US")
    open_warehouse(f"{SOURCE}?location=eu")


def test_a_repeated_field_is_of_no_kind(fake: FakeBigQuery) -> None:
    fake.table = {"schema": {"fields": [{"name": "unique_pid", "type": "STRING", "mode": "REPEATED"}]}}
    with pytest.raises(InputError, match="column 'unique_pid' of table 'playlists' is STRING REPEATED: it must be"):
        open_warehouse(SOURCE)


def test_no_credentials_is_one_sentence(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in ("BIGQUERY_EMULATOR_HOST", "GOOGLE_APPLICATION_CREDENTIALS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("CLOUDSDK_CONFIG", str(tmp_path))
    monkeypatch.setenv("NO_GCE_CHECK", "true")  # or it asks a metadata server that is not there
    with pytest.raises(InputError, match=r"no Google credentials .* run `gcloud auth application-default login`"):
        open_warehouse(SOURCE)


def test_nobody_there_is_one_sentence_within_a_minute(monkeypatch: pytest.MonkeyPatch) -> None:
    assert bigquery_clients.SECONDS_TO_RETRY <= bigquery_clients.SECONDS_PER_REQUEST <= 60
    monkeypatch.setattr(bigquery_clients, "SECONDS_TO_RETRY", 2.0)
    monkeypatch.setenv("BIGQUERY_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    started = time.monotonic()
    with pytest.raises(InputError, match=r"BigQuery does not answer .*\(ConnectionError\): check the network"):
        open_warehouse(SOURCE)
    assert time.monotonic() - started < 10


def test_a_read_api_that_does_not_answer_is_one_sentence(fake: FakeBigQuery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bigquery_clients, "SECONDS_TO_RETRY", 2.0)
    warehouse, started = open_warehouse(SOURCE), time.monotonic()
    with pytest.raises(InputError, match="BigQuery does not answer for source"):
        list(warehouse.query("census", parameters={}))
    assert time.monotonic() - started < 10


def test_an_emulator_without_a_read_api_is_one_sentence(fake: FakeBigQuery, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("BIGQUERY_STORAGE_EMULATOR_HOST")
    with pytest.raises(InputError, match="BIGQUERY_EMULATOR_HOST is set and BIGQUERY_STORAGE_EMULATOR_HOST is not"):
        list(open_warehouse(SOURCE).query("census", parameters={}))
