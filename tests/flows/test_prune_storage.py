"""Exactly what no kept run refers to is deleted, and a kept run repeated computes nothing."""

from __future__ import annotations

import os
import shutil
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.prune_storage import prune_storage
from flows.recommend_tracks import recommend_tracks
from tasks import prune
from tasks.errors import InputError
from tasks.local_files import LocalFiles
from tasks.parameters import FeatureParameters, TrainingParameters
from tasks.records import RecordStore
from tests.conftest import RunFlow, computed, crown, manifest_after, manifest_of

OTHER = FeatureParameters(audio="standard", embeddings=4)


def snapshot(storage: Path) -> dict[str, bytes]:
    """Everything in a storage, without what runs of prune-storage leave of themselves."""
    files = {path.relative_to(storage).as_posix(): path for path in storage.rglob("*") if path.is_file()}
    own = {str(Path(name).parent) for name, path in files.items() if b"prune-storage" in path.read_bytes()[:2000]}
    return {name: path.read_bytes() for name, path in files.items() if str(Path(name).parent) not in own}


def run_folders(storage: Path) -> set[str]:
    return {path.name for path in storage.glob("runs/*")}


def message(storage: Path, **parameters: Any) -> str:
    state = prune_storage(storage=str(storage), **parameters, return_state=True)
    assert state.is_failed()
    return str(state.message)


def unfinished_run(storage: Path, hours: float) -> Path:
    folder = storage / f"runs/{datetime.now(UTC) - timedelta(hours=hours):%Y%m%dT%H%M%SZ}-0123abcd"
    folder.mkdir(parents=True)
    (folder / "started.json").write_text("{}")
    return folder


@pytest.fixture(scope="module")
def two_runs(reference: Path, run_flow: RunFlow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of the reference run, and of a later one with other features. Nobody writes to it."""
    storage = Path(shutil.copytree(reference, tmp_path_factory.mktemp("two") / "storage"))
    run_flow(storage, features=OTHER)
    (storage / "champion.json").unlink(missing_ok=True)
    return storage


@pytest.fixture
def storage(two_runs: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(two_runs, tmp_path / "storage"))


def test_a_dry_run_deletes_nothing_and_says_what_it_would(storage: Path) -> None:
    before = snapshot(storage)
    manifest = manifest_after(prune_storage, storage, keep=1)
    assert snapshot(storage) == before
    dry = manifest["pruning"]
    assert dry["freed"]["records"]["files"] > 10 and dry["freed"]["data"]["bytes"] > 100_000
    real = manifest_after(prune_storage, storage, keep=1, delete=True)["pruning"]
    assert real["freed"] == dry["freed"]
    after = snapshot(storage)
    assert all(content == before[name] for name, content in after.items())
    for kind in ("records", "data"):
        gone = [len(before[name]) for name in before if name.startswith(kind) and name not in after]
        assert real["freed"][kind] == {"files": len(gone), "bytes": sum(gone)}


def test_a_kept_run_reuses_everything_and_the_other_is_gone(
    storage: Path, reference: Path, run_flow: RunFlow, tmp_path: Path
) -> None:
    manifest_after(prune_storage, storage, keep=1, delete=True)
    alone = tmp_path / "alone"
    run_flow(alone, features=OTHER)
    assert {name for name in snapshot(storage) if name.startswith("data/")} == {
        name for name in snapshot(alone) if name.startswith("data/")
    }
    assert {path.name for path in storage.glob("records/*-*")} == {path.name for path in alone.glob("records/*-*")}
    assert manifest_of(reference)["folder"].split("/")[1] not in run_folders(storage)
    assert computed(run_flow(storage, features=OTHER)) == {}
    again = computed(run_flow(storage))
    assert again["train_batch_outer"] == 3 and "extract_memberships" not in again


def test_the_champion_its_history_and_the_models_of_recommendations_are_kept(
    storage: Path, reference: Path, run_flow: RunFlow
) -> None:
    first = manifest_of(reference)["folder"]
    recommendations = manifest_after(recommend_tracks, storage, run=first)
    run_flow(storage, features=OTHER)
    kept = manifest_after(prune_storage, storage, keep=1, delete=True)["pruning"]["kept_runs"]
    assert first in kept and recommendations["folder"] in kept and len(kept) == 3
    assert computed(manifest_after(recommend_tracks, storage, run=first)) == {"find_model_run": 1}
    assert computed(run_flow(storage)) == {}
    for folder in storage.glob("runs/*"):
        if "recommend-tracks" in (folder / "started.json").read_text():
            shutil.rmtree(folder)
    latest = run_flow(storage, features=OTHER)["folder"]
    crown(storage, latest, first)
    pruning = manifest_after(prune_storage, storage, keep=1, delete=True)["pruning"]
    assert first in pruning["kept_runs"]
    assert not list((storage / "data" / "recommendations").iterdir())
    assert computed(run_flow(storage)) == {}


def test_failed_runs_do_not_push_out_the_last_completed_one(
    storage: Path, run_flow: RunFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    last = max(run_folders(storage))
    (path,) = storage.glob(f"runs/{last}/manifest.json")
    for second in (1, 2, 3):
        folder = storage / f"runs/{datetime.now(UTC) + timedelta(seconds=second):%Y%m%dT%H%M%SZ}-{second:08}"
        folder.mkdir()
        (folder / "manifest.json").write_text(path.read_text().replace('"completed"', '"failed"', 1))
    kept = manifest_after(prune_storage, storage, keep=1, delete=True)["pruning"]["kept_runs"]
    assert f"runs/{last}" in kept and [folder[-8:] for folder in kept if folder != f"runs/{last}"] == ["00000003"]


def test_a_young_unfinished_run_stops_it_and_an_old_one_is_cleared(storage: Path) -> None:
    folder, before = unfinished_run(storage, hours=2), snapshot(storage)
    said = message(storage, delete=True)
    assert f"runs/{folder.name} started at" in said and "has no manifest" in said
    assert snapshot(storage) == before
    pruning = manifest_after(prune_storage, storage, unfinished_hours=1, delete=True)["pruning"]
    assert not folder.exists() and pruning["freed"]["runs"]["files"] == 1


def test_a_run_that_starts_meanwhile_stops_it_before_data_are_deleted(
    storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete, before = LocalFiles.delete, snapshot(storage)

    def start_and_delete(self: LocalFiles, path: str) -> None:
        if path.startswith("records/train-batch") and not list(storage.glob("runs/*-0123abcd")):
            unfinished_run(storage, hours=0)
        delete(self, path)

    monkeypatch.setattr(LocalFiles, "delete", start_and_delete)
    said = message(storage, keep=1, delete=True)
    assert "-0123abcd started in the meantime" in said
    after = snapshot(storage)
    assert [name for name in before if name not in after and not name.startswith("records/")] == []
    assert [name for name in before if name not in after]


@pytest.mark.parametrize(("phase", "most"), [("records", 0), ("data", 5)])
def test_a_run_that_becomes_champion_meanwhile_stops_it(
    phase: str, most: int, storage: Path, reference: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before data are deleted nothing is lost; later no more than between two looks, and it is said."""
    doomed, before, delete = manifest_of(reference)["folder"], snapshot(storage), LocalFiles.delete

    def crown_and_delete(self: LocalFiles, path: str) -> None:
        if path.startswith(f"{phase}/"):
            crown(storage, doomed)
        delete(self, path)

    monkeypatch.setattr(LocalFiles, "delete", crown_and_delete)
    monkeypatch.setattr(prune, "CHECK_EVERY", 5)
    with pytest.raises(InputError, match=f"{doomed} became champion in the meantime"):
        prune.prune_files.fn(str(storage), 1, 24.0, True, "00000000")
    lost = [name for name in before if not (storage / name).exists() and not name.startswith("records/")]
    assert len(lost) == most and not [name for name in lost if name.startswith("runs/")]
    kept = prune.prune_files.fn(str(storage), 1, 24.0, True, "00000000").kept_runs
    assert doomed in kept


def test_a_run_that_starts_while_data_are_deleted_stops_it(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    delete, deleted = LocalFiles.delete, []

    def start_and_delete(self: LocalFiles, path: str) -> None:
        deleted.append(path)
        if path.startswith("data/") and not list(storage.glob("runs/*-0123abcd")):
            unfinished_run(storage, hours=0)
        delete(self, path)

    monkeypatch.setattr(LocalFiles, "delete", start_and_delete)
    monkeypatch.setattr(prune, "CHECK_EVERY", 5)
    with pytest.raises(InputError, match=r"-0123abcd started in the meantime .* all records and 5 other files"):
        prune.prune_files.fn(str(storage), 1, 24.0, True, "00000000")
    assert sum(path.startswith("data/") for path in deleted) == 5


def test_interrupted_it_leaves_no_record_that_names_a_missing_file(
    storage: Path, run_flow: RunFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    delete, deleted = LocalFiles.delete, []
    freed = prune.prune_files.fn(str(storage), 1, 24.0, False, "00000000").freed
    n_records, n_data = freed["records"].files, freed["data"].files
    moments = (n_records // 2, n_records + n_data // 2, n_records + n_data + 1)
    for n_deleted in moments:  # each goes on where the one before was interrupted

        def delete_some(self: LocalFiles, path: str, n: int = n_deleted) -> None:
            if len(deleted) == n:
                raise KeyboardInterrupt
            deleted.append(path)
            delete(self, path)

        monkeypatch.setattr(LocalFiles, "delete", delete_some)
        with pytest.raises(KeyboardInterrupt):
            prune.prune_files.fn(str(storage), 1, 24.0, True, "00000000")
        monkeypatch.undo()
        assert len(deleted) == n_deleted
        for record in storage.glob("records/*-*"):
            RecordStore(storage_uri=str(storage)).read_path(record.name)
    assert [deleted[n - 1].split("/")[0] for n in moments] == ["records", "data", "runs"]
    manifest_after(prune_storage, storage, keep=1, delete=True)
    assert computed(run_flow(storage, features=OTHER)) == {}


def test_only_old_temporary_files_go_and_other_names_stay(storage: Path) -> None:
    old = time.time() - 25 * 3600
    names = ["data/models/.0123456789abcdef.part", "records/.0123456789abcdef.part", "runs/probe-0123456789abcdef"]
    foreign = [
        "data/notes.txt",
        "data/models/mine.parquet",
        "records/readme",
        "runs/notes/manifest.json",
        "other/.x.part",
    ]
    for name in names + foreign:
        (storage / name).parent.mkdir(parents=True, exist_ok=True)
        (storage / name).write_text("x")
        os.utime(storage / name, (old, old))
    young = storage / "data/models/.fedcba9876543210.part"
    young.write_text("x")
    pruning = manifest_after(prune_storage, storage, keep=1, delete=True)["pruning"]
    assert pruning["freed"]["temporary"] == {"files": 3, "bytes": 3}
    assert pruning["kept"]["temporary"]["files"] == 1
    assert not any((storage / name).exists() for name in names)
    assert young.exists() and all((storage / name).exists() for name in foreign)


def test_a_manifest_that_cannot_be_read_stops_it(storage: Path) -> None:
    path = next(storage.glob("runs/*/manifest.json"))
    path.write_text(path.read_text()[:500])
    before = snapshot(storage)
    said = f"{path.relative_to(storage).as_posix()} of storage '{storage}' cannot be read"
    assert said in message(storage, delete=True)
    assert snapshot(storage) == before


def test_a_champion_without_a_manifest_stops_it(storage: Path) -> None:
    run = "runs/20200101T000000Z-00000000"
    crown(storage, run)
    assert f"the champion {run} has no manifest" in message(storage, delete=True)


def test_all_inner_models_of_several_c_are_kept(storage: Path, run_flow: RunFlow) -> None:
    """Models that lost the choice of C are in no other file, and are reused all the same."""
    training = TrainingParameters(batch_size=8, regularization=(1e-4, 0.3))
    run_flow(storage, training=training)
    manifest_after(prune_storage, storage, keep=1, delete=True)
    assert computed(run_flow(storage, training=training)) == {}
