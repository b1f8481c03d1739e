"""The whole flow against a real server: what is executed again, and what is not."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from tasks.parameters import (
    ComputeParameters,
    EvaluationParameters,
    FeatureParameters,
    PublicationParameters,
    SampleParameters,
    TrainingParameters,
)
from tasks.warehouse import local
from tests.conftest import SAMPLE_WAREHOUSE, SMALL, RunFlow, computed, data_files, manifest_of

EXTRACTS = {"extract_memberships", "extract_tracks"}
MODELS = {"train_batch_inner", "train_batch_outer", "train_batch_all", "count_models"}
FEATURES = {"build_features_inner", "build_features_outer", "build_features_all"}
THRESHOLDS = {"validate_batch", "choose_thresholds"}
JUDGED = {"evaluate_batch", "summarize", "explain_models"}
AFTER_PREPARE = FEATURES | MODELS | THRESHOLDS | JUDGED
AFTER_EXTRACT = {"prepare_batches"} | AFTER_PREPARE


def test_a_second_run_computes_nothing(storage: Path, run_flow: RunFlow) -> None:
    manifest = run_flow(storage)
    assert computed(manifest) == {}
    assert manifest["tasks"]["train_batch_outer"]["reused"] == 3


# Per parameter: another value, and the stages whose keys may change by it. Whatever comes out unchanged stops there.
CHANGES: list[tuple[str, dict[str, Any], set[str]]] = [
    ("sample.n_playlists", {"sample": SampleParameters(n_playlists=25)}, EXTRACTS | AFTER_EXTRACT),
    ("sample.seed", {"sample": SampleParameters(n_playlists=24, seed=8)}, EXTRACTS | AFTER_EXTRACT),
    ("sample.min_tracks, same sample", {"sample": SampleParameters(n_playlists=24, min_tracks=11)}, EXTRACTS),
    ("sample.maximum_bytes_billed", {"sample": SampleParameters(n_playlists=24, maximum_bytes_billed="2 TB")}, set()),
    (
        "sample.catalogue",
        {"sample": SampleParameters(n_playlists=24, catalogue="all")},
        {"extract_tracks"} | AFTER_EXTRACT - {"choose_thresholds", "count_models"},  # found and fitted as before
    ),
    (
        "features.audio",
        {"features": FeatureParameters(audio="standard", embeddings=8)},
        AFTER_PREPARE,
    ),
    (
        "features.embeddings",
        {"features": FeatureParameters(audio="minmax", embeddings=4)},
        AFTER_PREPARE,
    ),
    ("features.recipe", {"features": FeatureParameters(recipe="notebook")}, AFTER_PREPARE),
    ("training.batch_size", {"training": TrainingParameters(batch_size=12)}, AFTER_EXTRACT - FEATURES),
    (
        "training.regularization",
        {"training": TrainingParameters(batch_size=8, regularization=(0.5,))},
        MODELS | THRESHOLDS | JUDGED,
    ),
    (
        "training.n_negatives",
        {"training": TrainingParameters(batch_size=8, n_negatives=500)},
        MODELS | THRESHOLDS | JUDGED,
    ),
    ("training.max_failed_fraction", {"training": TrainingParameters(batch_size=8, max_failed_fraction=0.5)}, set()),
    ("evaluation.n_playlists", {"evaluation": EvaluationParameters(n_playlists=12)}, JUDGED),
    ("training.refit", {"training": TrainingParameters(batch_size=8, refit=False)}, set()),
    ("publication.publish", {"publication": PublicationParameters(publish="never")}, set()),
    ("publication.tolerance", {"publication": PublicationParameters(tolerance=0.5)}, set()),
    ("publication.min_coverage", {"publication": PublicationParameters(min_coverage=0.5)}, set()),
    ("compute.workers", {"compute": ComputeParameters(workers=1)}, set()),
]


@pytest.mark.parametrize(("changed", "stages"), [pytest.param(*c[1:], id=c[0]) for c in CHANGES])
def test_a_parameter_recomputes_what_depends_on_it(
    changed: dict[str, Any], stages: set[str], storage: Path, run_flow: RunFlow
) -> None:
    """Published whatever comes out: what a run that is not published leaves out is in test_publication.py."""
    manifest = run_flow(storage, **({"publication": PublicationParameters(publish="always")} | changed))
    assert manifest["status"] == "completed", manifest["message"]
    assert set(computed(manifest)) == stages


def test_of_several_c_the_inner_fold_chooses_one(storage: Path, run_flow: RunFlow) -> None:
    """The inner fold is trained and judged once per C, the outer fold with the chosen one alone."""
    manifest = run_flow(storage, training=TrainingParameters(batch_size=8, regularization=(1e-4, 0.3)))
    assert manifest["status"] == "completed", manifest["message"]
    quality = manifest["regularization"]["quality"]
    assert quality.keys() == {"0.0001", "0.3"}
    assert manifest["regularization"]["chosen"] == float(max(quality, key=quality.__getitem__))
    assert quality["0.0001"] != quality["0.3"]
    assert manifest["tasks"]["train_batch_inner"]["computed"] == 3  # those of C = 0.3 are there
    assert len(manifest["files"]["train_batch_inner"]) == 6
    metadata = pq.read_schema(storage / manifest["files"]["train_batch_outer"][0]["path"]).metadata
    assert json.loads(metadata[b"model"])["regularization"] == manifest["regularization"]["chosen"]


def test_fresh_computes_everything_and_the_same(storage: Path, run_flow: RunFlow) -> None:
    before = data_files(storage)
    manifest = run_flow(storage, fresh=True)
    assert set(computed(manifest)) == EXTRACTS | AFTER_EXTRACT | {"count_playlists"}
    assert manifest["tasks"]["train_batch_outer"]["reasons"] == {"fresh run asked for": 3}
    assert data_files(storage) == before


def test_a_moved_source_and_a_moved_storage_change_nothing(storage: Path, run_flow: RunFlow, tmp_path: Path) -> None:
    elsewhere = storage.rename(tmp_path / "elsewhere")
    source = shutil.copytree(SAMPLE_WAREHOUSE, tmp_path / "source")
    assert computed(run_flow(elsewhere, source=str(source))) == {}


def test_a_changed_source_stops_where_the_content_is_the_same(storage: Path, run_flow: RunFlow, tmp_path: Path) -> None:
    source = Path(shutil.copytree(SAMPLE_WAREHOUSE, tmp_path / "source"))
    table = pq.read_table(source / "tracks_headers.parquet")
    pq.write_table(table.take(list(range(table.num_rows - 1, -1, -1))), source / "tracks_headers.parquet")
    manifest = run_flow(storage, source=str(source))
    assert set(computed(manifest)) == EXTRACTS | {"count_playlists"}
    assert manifest["tasks"]["extract_tracks"]["reasons"] == {"input snapshot changed": 1}


def test_a_source_that_changes_while_it_is_read_poisons_nothing(
    reference: Path, run_flow: RunFlow, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The source is A, becomes B after the snapshot was taken, and is A again in the next run."""
    source = Path(shutil.copytree(SAMPLE_WAREHOUSE, tmp_path / "source"))
    whole = (source / "playlists.parquet").read_bytes()
    read_statement, half = local.read_statement, pq.read_table(source / "playlists.parquet").slice(0, 9000)

    def change_then_read(*names: str) -> str:
        if names[-1] == "memberships":
            monkeypatch.setattr(local, "read_statement", read_statement)
            pq.write_table(half, source / "playlists.parquet")
        return read_statement(*names)

    monkeypatch.setattr(local, "read_statement", change_then_read)
    changed = run_flow(tmp_path / "storage", source=str(source))
    assert changed["status"] == "completed"
    assert changed["tasks"]["extract_memberships"]["failed"] == 1
    assert changed["census"]["n_memberships"] == 9000
    (source / "playlists.parquet").write_bytes(whole)
    again = run_flow(tmp_path / "storage", source=str(source))
    assert again["census"]["n_memberships"] == 19274
    assert again["sample"]["memberships"] == manifest_of(reference)["sample"]["memberships"]
    assert again["tasks"]["extract_memberships"]["computed"] == 1


def damage_delete(path: Path) -> None:
    path.unlink()


def damage_truncate(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-7])


def damage_flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


DAMAGES = {"missing": damage_delete, "instead of": damage_truncate, "other content": damage_flip}


@pytest.mark.parametrize("sign", DAMAGES)
@pytest.mark.parametrize(
    ("stage", "file"),
    [("extract_memberships", 0), ("prepare_batches", 1), ("build_features_outer", 0), ("train_batch_outer", 2)],
)
def test_a_damaged_file_costs_its_producer_and_nothing_else(
    sign: str, stage: str, file: int, storage: Path, run_flow: RunFlow
) -> None:
    reference = manifest_of(storage)["files"][stage][file]["path"]
    content = (storage / reference).read_bytes()
    DAMAGES[sign](storage / reference)
    manifest = run_flow(storage)
    assert computed(manifest) == {stage: 1}
    (reason,) = manifest["tasks"][stage]["reasons"]
    assert reference in reason and sign in reason
    assert (storage / reference).read_bytes() == content


def test_a_garbage_record_costs_its_task_and_nothing_else(storage: Path, run_flow: RunFlow) -> None:
    record = sorted(storage.glob("records/evaluate-batch-*"))[0]
    record.write_bytes(b"\x00garbage")
    manifest = run_flow(storage)
    assert computed(manifest) == {"evaluate_batch": 1}
    assert manifest["tasks"]["evaluate_batch"]["reasons"] == {"record unreadable or foreign": 1}


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_the_number_of_workers_changes_no_byte(
    workers: int, reference: Path, run_flow: RunFlow, tmp_path: Path
) -> None:
    run_flow(tmp_path / "storage", compute=ComputeParameters(workers=workers))
    assert data_files(tmp_path / "storage") == data_files(reference)


def test_batches_of_one_playlist(run_flow: RunFlow, tmp_path: Path) -> None:
    sample, training = SampleParameters(n_playlists=5), TrainingParameters(batch_size=1)
    manifest = run_flow(tmp_path / "storage", sample=sample, training=training)
    assert manifest["status"] == "completed"
    assert manifest["tasks"]["train_batch_outer"]["computed"] == 5
    assert manifest["models"] == {"trained": 5}


def test_the_manifest_says_what_there_is(reference: Path) -> None:
    manifest = manifest_of(reference)
    assert manifest["census"]["n_playlists"] == 271
    assert manifest["census"]["n_memberships"] == 19274
    assert manifest["sample"]["asked"] == manifest["sample"]["found"] == 24
    assert manifest["sample"]["dropped_features"] == {"time_signature": "no value in any train track"}
    assert sum(k * n for k, n in manifest["sample"]["tracks_by_n_playlists"]) == manifest["sample"]["memberships"]
    assert manifest["parameters"]["sample"] == SMALL["sample"].model_dump()
    assert manifest["snapshot"].keys() == {"playlists", "tracks_headers"}
    for recommender in ("model", "same_artist_album", "item_knn", "popularity"):
        for metric in ("ndcg_at_500", "cold_ndcg_at_500", "warm_ndcg_at_500", "r_precision", "f1"):
            assert 0 <= manifest["metrics"][recommender][metric]["mean"] <= 1
    assert manifest["metrics"]["model"]["ndcg_at_500"]["n"] == 24
    assert manifest["blas"] and manifest["library_versions"]["numpy"]


def test_results_are_read_with_duckdb_as_the_readme_says(reference: Path) -> None:
    manifest = manifest_of(reference)
    path = reference / manifest["files"]["summarize"][1]["path"]
    rows = duckdb.sql(f"SELECT recommender, avg(ndcg_at_500) FROM '{path}' GROUP BY ALL ORDER BY ALL").fetchall()
    expected = manifest["metrics"]
    assert rows == [(name, pytest.approx(expected[name]["ndcg_at_500"]["mean"])) for name in sorted(expected)]


def test_the_joined_files_have_a_row_group_per_batch(reference: Path) -> None:
    for stage, rows in (("all_models", 24), ("all_metrics", 24 * 4)):
        (path,) = (reference / "data" / stage).iterdir()
        with pq.ParquetFile(path) as parquet:
            assert (parquet.num_row_groups, parquet.metadata.num_rows) == (3, rows)
