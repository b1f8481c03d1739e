"""Sources that are allowed but strange: the run completes, or says in one sentence why it cannot."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.parameters import FeatureParameters, SampleParameters
from tasks.warehouse.contract import FEATURES
from tests.conftest import RunFlow
from tests.warehouses import Row, member, track, varied_tracks, write


def playlists(sizes: dict[Any, range]) -> list[Row]:
    return [member(pid, f"t{i:04}", artist=f"A{i % 7}") for pid, tracks in sizes.items() for i in tracks]


def models(manifest: dict[str, Any], storage: Path) -> pd.DataFrame:
    (file,) = [file for file in manifest["files"]["summarize"] if "all_models" in file["path"]]
    return pd.read_parquet(storage / file["path"]).set_index("playlist_id")


def test_a_playlist_that_is_the_whole_catalogue(run_flow: RunFlow, tmp_path: Path) -> None:
    source = write(tmp_path / "source", playlists({"all": range(60), "some": range(20)}), varied_tracks(60))
    manifest = run_flow(tmp_path / "storage", source=source)
    assert manifest["status"] == "completed"
    found = models(manifest, tmp_path / "storage")
    assert found["status"].to_dict() == {"all": "trained", "some": "trained"}


def test_one_playlist_only(run_flow: RunFlow, tmp_path: Path) -> None:
    source = write(tmp_path / "source", playlists({"only": range(30)}), varied_tracks(30))
    manifest = run_flow(tmp_path / "storage", source=source)
    assert manifest["status"] == "completed", manifest["message"]
    assert manifest["models"] == {"one_class": 1}
    assert manifest["metrics"]["model"]["ndcg_at_500"]["mean"] == 0
    found = models(manifest, tmp_path / "storage").loc["only"]
    assert found["reason"] == "no negative is left: all 24 rows are in the playlist"
    assert math.isnan(found["intercept"]) and found["coefficients"] is None


def test_two_playlists_with_the_same_tracks_are_two_models(run_flow: RunFlow, tmp_path: Path) -> None:
    sizes = {"a": range(20), "b": range(20), "c": range(15, 50)}
    source = write(tmp_path / "source", playlists(sizes), varied_tracks(50))
    manifest = run_flow(tmp_path / "storage", source=source)
    assert manifest["models"] == {"trained": 3}


def test_playlists_too_small_to_train(run_flow: RunFlow, tmp_path: Path) -> None:
    source = write(tmp_path / "source", playlists({"one": range(1), "many": range(30)}), varied_tracks(30))
    manifest = run_flow(tmp_path / "storage", source=source, sample=SampleParameters(n_playlists=9, min_tracks=1))
    assert manifest["status"] == "completed", manifest["message"]
    found = models(manifest, tmp_path / "storage")
    assert found["status"].to_dict() == {"many": "one_class", "one": "too_few"}
    assert manifest["metrics"]["model"]["ndcg_at_500"]["n_excluded"] == 1


@pytest.mark.parametrize("audio", ["minmax", "spline"])
def test_all_features_constant_is_one_sentence(audio: Any, run_flow: RunFlow, tmp_path: Path) -> None:
    sizes = {"a": range(20), "b": range(30)}
    source = write(tmp_path / "source", playlists(sizes), [track(f"t{i:04}") for i in range(30)])
    features = FeatureParameters(audio=audio, embeddings=0, catalogue=False)
    manifest = run_flow(tmp_path / "storage", source=source, features=features)
    assert manifest["status"] == "failed"
    assert "no feature can be used (danceability: the same value (0.5) in every train track" in manifest["message"]


def test_missing_and_infinite_features(run_flow: RunFlow, tmp_path: Path) -> None:
    headers = varied_tracks(60)
    for i, row in enumerate(headers):
        row["time_signature"] = None
        row["tempo"] = math.inf if i % 3 else row["tempo"]
        row["energy"] = math.nan if i % 5 == 0 else row["energy"]
    headers[7] |= dict.fromkeys(FEATURES, math.nan)
    source = write(tmp_path / "source", playlists({"a": range(25), "b": range(20, 60)}), headers)
    manifest = run_flow(tmp_path / "storage", source=source)
    assert manifest["status"] == "completed", manifest["message"]
    assert manifest["sample"]["tracks"] == 59
    assert manifest["sample"]["dropped_features"]["time_signature"] == "no value in any train track"
    assert manifest["models"] == {"trained": 2}


HOSTILE = ["a,b", "a/b", "../../x", "it's", 'say "x"', "two\nlines", "🎧", "<script>alert(1)</script>", "%s {x}", "-x"]


@pytest.mark.parametrize("pids", [HOSTILE, list(range(-3, 7))], ids=["hostile", "integers"])
def test_any_id_is_only_an_id(pids: list[Any], run_flow: RunFlow, tmp_path: Path) -> None:
    sizes = {pid: range(i, i + 15) for i, pid in enumerate(pids)}
    source = write(tmp_path / "source", playlists(sizes), varied_tracks(40))
    manifest = run_flow(tmp_path / "storage", source=source)
    assert manifest["status"] == "completed", manifest["message"]
    assert set(models(manifest, tmp_path / "storage").index) == {str(pid) for pid in pids}
    (report,) = (tmp_path / "storage").glob("runs/*/report.html")
    assert "<script>alert" not in report.read_text()


def test_an_empty_table_is_one_sentence(run_flow: RunFlow, tmp_path: Path) -> None:
    source = write(tmp_path / "source", playlists({"a": range(20)}), varied_tracks(20))
    empty = pd.read_parquet(tmp_path / "source" / "tracks_headers.parquet").head(0)
    empty.to_parquet(tmp_path / "source" / "tracks_headers.parquet")
    manifest = run_flow(tmp_path / "storage", source=source)
    assert manifest["status"] == "failed"
    assert "no playlist of source" in manifest["message"] and "tracks_headers 0 tracks" in manifest["message"]
