"""The whole flow with its files in a bucket: the same as with a folder, and through a service's bad days."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from flows.train_playlists import train_playlists
from tasks import gcs_requests
from tasks.gcs_files import GcsFiles
from tasks.references import FileRef
from tests.conftest import SMALL, computed, data_files, manifest_of
from tests.gcs_emulator import Bucket
from tests.proxy import spoiled

BEFORE_THE_END = 150  # requests of a run: about half


def run(bucket: Bucket) -> dict[str, Any]:
    """Run the flow and return its manifest."""
    before = bucket.manifests().keys()
    state = train_playlists(storage=bucket.uri, **SMALL, return_state=True)
    after = bucket.manifests()
    (path,) = after.keys() - before
    manifest = after[path]
    assert bucket.get(path.replace("manifest.json", "report.html")).startswith(b"<!doctype html>")
    if manifest["status"] == "completed":
        assert state.result() == f"{bucket.uri}/{path}"
    return manifest


@pytest.fixture
def filled(reference: Path, bucket: Bucket) -> Bucket:
    """A bucket to which the reference run's storage was uploaded."""
    bucket.upload(reference)
    return bucket


def test_a_run_on_a_bucket_leaves_the_same_files(
    reference: Path, bucket: Bucket, server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened, open_file = Counter[str](), GcsFiles.open

    def count(self: GcsFiles, file: FileRef) -> AbstractContextManager[BinaryIO]:
        opened[file.path] += 1
        return open_file(self, file)

    monkeypatch.setattr(GcsFiles, "open", count)
    with spoiled(bucket.endpoint, monkeypatch, 0.0) as proxy:
        manifest = run(bucket)
        assert manifest["status"] == "completed"
        features = [file["path"] for fold in ("inner", "outer") for file in manifest["files"][f"build_features_{fold}"]]
        assert max(opened[path] for path in features) == 2  # each is a download; not one for every batch
        assert bucket.names("data/") == data_files(reference)
        assert bucket.names("records/") == {
            path.relative_to(reference).as_posix() for path in reference.glob("records/**/*") if path.is_file()
        }
        assert manifest["files"] == manifest_of(reference)["files"]
        n_task_runs = sum(counts["computed"] for counts in manifest["tasks"].values())
        assert proxy.counts.total() < 14 * n_task_runs
        proxy.counts.clear()
        assert computed(run(bucket)) == {}
        assert proxy.counts.total() < 7 * n_task_runs


def test_an_uploaded_storage_is_reused_entirely(filled: Bucket, server: object) -> None:
    assert computed(run(filled)) == {}


def overwrite(bucket: Bucket, path: str) -> None:
    bucket.put(path, bucket.get(path)[:-1] + b"x")


@pytest.mark.parametrize(("damage", "reason"), [(Bucket.delete, "file missing: "), (overwrite, "file damaged: ")])
def test_a_damaged_object_costs_its_producer_and_nothing_else(
    damage: Callable[[Bucket, str], None], reason: str, filled: Bucket, reference: Path, server: object
) -> None:
    path = manifest_of(reference)["files"]["build_features_outer"][0]["path"]
    damage(filled, path)
    manifest = run(filled)
    assert computed(manifest) == {"build_features_outer": 1}
    (said,) = manifest["tasks"]["build_features_outer"]["reasons"]
    assert said.startswith(f"{reason}{path}")
    assert filled.get(path) == (reference / path).read_bytes()


def test_a_run_survives_a_fifth_of_all_answers_spoilt(
    reference: Path, bucket: Bucket, server: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gcs_requests, "FIRST_PAUSE_SECONDS", 0.02)
    with spoiled(bucket.endpoint, monkeypatch, 0.2) as proxy:
        manifest = run(bucket)
        assert proxy.counts.total() - proxy.counts[""] > 40
        assert len(proxy.counts) == 7
    assert manifest["status"] == "completed", manifest["message"]
    assert bucket.names("data/") == data_files(reference)
    assert all(bucket.get(path) == (reference / path).read_bytes() for path in data_files(reference))
    assert computed(run(bucket)) == {}


@pytest.mark.parametrize(
    ("fault", "says"), [("503", "does not answer (503 Service Unavailable, for"), ("403", "may not be used by this")]
)
def test_a_service_that_ends_in_mid_run_ends_the_run_in_a_sentence_and_loses_nothing(
    fault: str,
    says: str,
    reference: Path,
    bucket: Bucket,
    server: object,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gcs_requests, "PATIENCE_SECONDS", 2.0)
    with spoiled(bucket.endpoint, monkeypatch, 1.0, (fault,), begin_after=BEFORE_THE_END) as proxy:
        started = time.monotonic()
        state = train_playlists(storage=bucket.uri, **SMALL, return_state=True)
        seconds = time.monotonic() - started
        assert proxy.counts[fault] < 50
    assert state.is_failed()
    assert state.message.count(f"{bucket.uri} {says}") == 1
    assert state.message.endswith(".") and "\n" not in state.message
    assert seconds < 2 + 15
    kept = len(bucket.names("records/train-batch-"))
    assert kept >= 1
    manifest = run(bucket)
    assert manifest["status"] == "completed"
    assert sum(manifest["tasks"][f"train_batch_{fold}"]["reused"] for fold in ("inner", "outer")) == kept
    assert bucket.names("data/") == data_files(reference)
