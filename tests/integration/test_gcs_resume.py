"""A real process that keeps its files in a bucket is killed; the next one does the rest."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests.conftest import data_files
from tests.gcs_emulator import Bucket
from tests.integration.processes import interrupt_when, last_line, start
from tests.integration.test_interruption import OPTIONS
from tests.proxy import spoiled


def test_a_killed_run_is_finished_by_the_next(server: dict[str, str], reference: Path, bucket: Bucket) -> None:
    process = start(bucket.uri, server, *OPTIONS)
    interrupt_when(process, lambda: len(bucket.names("records/train-batch-")) >= 2, signal.SIGKILL)
    n_finished = len(bucket.names("records/train-batch-"))
    assert 2 <= n_finished < 6
    assert not bucket.manifests()

    path = last_line(start(bucket.uri, server, *OPTIONS))
    manifest = json.loads(bucket.get(path.removeprefix(f"{bucket.uri}/")))
    stages = [manifest["tasks"][f"train_batch_{fold}"] for fold in ("inner", "outer")]
    assert sum(stage["reused"] for stage in stages) == n_finished
    assert manifest["tasks"]["extract_memberships"]["reused"] == 1
    assert bucket.names("data/") == data_files(reference)


def test_a_bucket_that_may_not_be_used_is_one_sentence(
    server: dict[str, str], bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    with spoiled(bucket.endpoint, monkeypatch, 1.0, ("403",)):
        process = start(bucket.uri, server, *OPTIONS)
        output, errors = process.communicate(timeout=60)
    assert (process.returncode, output) == (1, "")
    assert errors.startswith(f"train-playlists: storage {bucket.uri} may not be used by this account (planted): ")
    assert errors.count("\n") == 1
