"""What goes wrong in one place stays there. Faults come from here: the product has no hook for them."""

from __future__ import annotations

import dataclasses
import errno
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from prefect.filesystems import WritableFileSystem

from flows.train_playlists import train_playlists
from tasks import lifecycle, train
from tasks.ml import models
from tasks.ml.logistic import Fits, fit_playlists
from tasks.ml.models import BatchModels, fit_batch
from tasks.parameters import TrainingParameters
from tasks.records import RecordStore
from tests.conftest import SMALL, RunFlow, computed, data_files

Fit = Callable[..., BatchModels]
# What only a run without failures executes, when there is no champion.
PUBLISHED = {"summarize": 1, "explain_models": 1, "build_features_all": 1, "train_batch_all": 3, "count_models": 1}


def fail_on_call(n: int, error: Exception) -> Fit:
    """fit_batch that raises on its n-th call (from 0), and every time the same playlists come again."""
    calls: list[bytes] = []

    def fit(shared: Any, indptr: Any, tracks: NDArray[np.int64], *others: Any, **options: Any) -> BatchModels:
        if tracks.tobytes() not in calls:
            calls.append(tracks.tobytes())
        if calls.index(tracks.tobytes()) == n:
            raise error
        return fit_batch(shared, indptr, tracks, *others, **options)

    return fit


def fail_once(error: Exception) -> Fit:
    errors = [error]

    def fit(*arguments: Any, **options: Any) -> BatchModels:
        if errors:
            raise errors.pop()
        return fit_batch(*arguments, **options)

    return fit


def test_a_failing_batch_fails_the_run_and_nothing_else(
    reference: Path, run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = tmp_path / "storage"
    monkeypatch.setattr(train, "fit_batch", fail_on_call(4, ValueError("planted")))
    manifest = run_flow(storage)
    assert manifest["status"] == "failed"
    assert "1 task run(s) failed" in manifest["message"] and "(outer)" in manifest["message"]
    assert "planted" in manifest["message"]
    assert manifest["tasks"]["train_batch_outer"]["failed"] == 1
    assert manifest["tasks"]["train_batch_outer"]["computed"] == 2
    assert manifest["tasks"]["evaluate_batch"]["computed"] == 2
    assert not {"summarize", "explain_models"} & set(manifest["tasks"])
    (report,) = storage.glob("runs/*/report.html")
    text = report.read_text()
    assert "This run failed" in text and re.search(r"<b>train batch \d \(outer\)</b>: .*ValueError: planted", text)
    assert "2 of 3 batches were evaluated" in text
    assert text.count("Not available: no model was explained") == 3

    monkeypatch.undo()
    manifest = run_flow(storage)
    assert manifest["status"] == "completed"
    assert computed(manifest) == {"train_batch_outer": 1, "evaluate_batch": 1} | PUBLISHED
    assert data_files(storage) == data_files(reference)


def test_a_failing_inner_batch_stops_what_needs_thresholds_only(
    run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "fit_batch", fail_on_call(0, ValueError("planted")))
    manifest = run_flow(tmp_path)
    assert manifest["status"] == "failed"
    assert manifest["tasks"]["train_batch_outer"]["computed"] == 3
    assert manifest["tasks"]["validate_batch"]["computed"] == 2
    assert "choose_thresholds" not in manifest["tasks"]
    monkeypatch.undo()
    again = computed(run_flow(tmp_path))
    assert (
        again
        == {"train_batch_inner": 1, "validate_batch": 1, "choose_thresholds": 1}
        | {
            "evaluate_batch": 3,
        }
        | PUBLISHED
    )


def test_a_transient_error_is_retried_and_leaves_no_trace(
    reference: Path, run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(train, "fit_batch", fail_once(ConnectionResetError("planted")))
    manifest = run_flow(tmp_path)
    assert manifest["status"] == "completed"
    assert manifest["tasks"]["train_batch_inner"] == {
        "computed": 3,
        "reused": 0,
        "failed": 0,
        "reasons": {"new": 3},
        "failures": {},
    }
    assert data_files(tmp_path) == data_files(reference)


@pytest.mark.parametrize(("allowed", "status"), [(0.05, "failed"), (0.5, "completed")])
def test_too_many_models_that_did_not_converge_fail_the_run(
    allowed: float, status: str, run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fit(*arguments: Any, **options: Any) -> Fits:
        fits = fit_playlists(*arguments, **options)
        return dataclasses.replace(fits, is_converged=np.arange(len(fits.coef)) > 0)  # one of eight in each batch

    monkeypatch.setattr(models, "fit_playlists", fit)
    manifest = run_flow(tmp_path, training=TrainingParameters(batch_size=8, max_failed_fraction=allowed))
    assert manifest["status"] == status
    assert manifest["models"] == {"not_converged": 3, "trained": 21}
    if status == "failed":
        assert "3 of 24 trainable playlists got no converged model" in manifest["message"]


FULL = OSError(errno.ENOSPC, "No space left on device")


def test_a_record_that_cannot_be_written_fails_the_run(
    run_flow: RunFlow, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (record,) = storage.glob("records/summarize-*")
    record.unlink()
    write_path = RecordStore.write_path

    def full(self: WritableFileSystem, path: str, content: bytes, **options: Any) -> None:
        raise FULL

    monkeypatch.setattr(RecordStore, "write_path", full)
    manifest = run_flow(storage)
    assert manifest["status"] == "failed"
    assert "1 finished task run(s) left no record" in manifest["message"]
    monkeypatch.setattr(RecordStore, "write_path", write_path)
    assert computed(run_flow(storage)) == {"summarize": 1}


def test_a_report_that_cannot_be_written_is_one_sentence(
    run_flow: RunFlow, storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: Any) -> str:
        raise FULL

    monkeypatch.setattr(lifecycle, "render_report", full)
    manifest = run_flow(storage)
    assert manifest["status"] == "failed"
    assert "the report cannot be written (No space left on device)" in manifest["message"]
    monkeypatch.undo()
    assert computed(run_flow(storage)) == {}
    assert json.loads(max(storage.glob("runs/*/manifest.json")).read_text())["status"] == "completed"


def test_an_unexpected_error_leaves_a_manifest_that_names_it(
    reference: Path, storage: Path, server: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def bug(*arguments: Any) -> None:
        raise ZeroDivisionError("planted")

    monkeypatch.setattr(lifecycle, "require_records", bug)
    before = set(storage.glob("runs/*/manifest.json"))
    with pytest.raises(ZeroDivisionError, match="planted"):
        train_playlists(storage=str(storage), **SMALL)
    (path,) = set(storage.glob("runs/*/manifest.json")) - before
    manifest = json.loads(path.read_text())
    assert manifest["status"] == "failed"
    assert manifest["message"] == "the run ended unexpectedly: ZeroDivisionError: planted"
