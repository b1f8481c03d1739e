"""The whole flow from BigQuery: the same files as from a folder, what it costs, and what becomes of a killed run."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.parameters import SampleParameters
from tasks.warehouse import bigquery_jobs
from tests.bigquery_emulator import PROJECT, BigQuery
from tests.conftest import SAMPLE_WAREHOUSE, RunFlow, computed, data_files, small_options
from tests.gcs_emulator import Bucket
from tests.integration.processes import interrupt_when, last_line, start

QUERIES = {"count_playlists", "extract_memberships", "extract_tracks"}
GIGABYTE = 1_000_000_000


@pytest.fixture
def source(bigquery: BigQuery) -> str:
    return bigquery.load(SAMPLE_WAREHOUSE, "flow")


@pytest.fixture
def estimate(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Let every dry run say so many bytes: the emulator says 0."""

    def say(size: int) -> None:
        monkeypatch.setattr(bigquery_jobs, "estimate_bytes", lambda *_: size)

    return say


def test_a_run_leaves_the_files_of_a_local_run_and_is_reused(
    source: str, reference: Path, storage: Path, run_flow: RunFlow, tmp_path: Path, estimate: Callable[[int], None]
) -> None:
    estimate(12 * GIGABYTE)
    first = run_flow(tmp_path / "new", source=source)
    assert data_files(tmp_path / "new") == data_files(reference)
    assert first["bytes_processed"] == dict.fromkeys(QUERIES, 12 * GIGABYTE)
    (report,) = (tmp_path / "new").glob("runs/*/report.html")
    assert "12.0 GB for\nextract memberships" in report.read_text() and "reused)" not in report.read_text()

    lower = SampleParameters(n_playlists=24, maximum_bytes_billed="1 GB")
    again = run_flow(tmp_path / "new", source=source, sample=lower)  # what is reused costs nothing
    assert computed(again) == {}
    assert again["bytes_processed"] == first["bytes_processed"]
    (report,) = set((tmp_path / "new").glob("runs/*/report.html")) - {report}
    assert "extract memberships (in an earlier run; reused)" in " ".join(report.read_text().split())

    moved = run_flow(storage, source=source)  # from a folder to BigQuery: only what reads the source is computed
    assert computed(moved) == dict.fromkeys(QUERIES, 1)
    refused = run_flow(tmp_path / "other", source=source, sample=lower)
    assert refused["status"] == "failed"
    assert "census would process 12.0 GB, the limit is 1.0 GB): raise sample.maximum_bytes_billed" in refused["message"]


def test_no_eligible_playlist_is_the_same_sentence_as_locally(source: str, run_flow: RunFlow, tmp_path: Path) -> None:
    sample = SampleParameters(min_tracks=9999)
    local = run_flow(tmp_path / "local", source=str(SAMPLE_WAREHOUSE), sample=sample)["message"]
    assert "271 playlists with 19,274 rows" in local
    found = run_flow(tmp_path / "cloud", source=source, sample=sample)["message"]
    assert found == local.replace(str(SAMPLE_WAREHOUSE), source)


def test_a_view_is_extracted_every_time_and_nothing_after_it(
    bigquery: BigQuery, storage: Path, run_flow: RunFlow
) -> None:
    source = bigquery.load_as_view(SAMPLE_WAREHOUSE, "flow_view")
    for _ in range(2):
        manifest = run_flow(storage, source=source)
        assert manifest["status"] == "completed", manifest["message"]
        assert computed(manifest) == dict.fromkeys(QUERIES, 1)
        assert "extracted every time: a view does not carry the date" in manifest["snapshot"]["playlists"]


@pytest.fixture
def numbered(tmp_path: Path) -> Path:
    """The sample warehouse with an integer as each playlist's id."""
    folder = Path(shutil.copytree(SAMPLE_WAREHOUSE, tmp_path / "numbered"))
    table = pq.read_table(folder / "playlists.parquet")
    ids = table["unique_pid"].combine_chunks().dictionary_encode().indices.cast(pa.int64())
    pq.write_table(table.set_column(0, "unique_pid", ids), folder / "playlists.parquet")
    return folder


def test_a_killed_run_from_integer_ids_to_a_bucket_is_resumed_and_leaves_the_files_of_a_local_run(
    numbered: Path, bigquery: BigQuery, bucket: Bucket, server: dict[str, str], run_flow: RunFlow, tmp_path: Path
) -> None:
    assert run_flow(tmp_path / "local", source=str(numbered))["status"] == "completed"
    source = bigquery.load(numbered, "numbered")
    assert bigquery.client.get_table(f"{PROJECT}.numbered.playlists").schema[0].field_type == "INT64"
    options, environment = ["--source", source, *small_options()], server | bigquery.environment
    process = start(bucket.uri, environment, *options)
    interrupt_when(process, lambda: bool(bucket.names("records/extract-memberships-")), signal.SIGKILL)
    assert not bucket.manifests()

    path = last_line(start(bucket.uri, environment, *options))
    manifest = json.loads(bucket.get(path.removeprefix(f"{bucket.uri}/")))
    assert manifest["tasks"]["extract_memberships"]["reused"] == manifest["tasks"]["count_playlists"]["reused"] == 1
    assert bucket.names("data/") == data_files(tmp_path / "local")
