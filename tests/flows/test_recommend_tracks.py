"""Recommendations by brute force, straight from the files that a run left; and what is executed again."""

from __future__ import annotations

import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from flows.recommend_tracks import recommend_tracks
from tasks.errors import InputError
from tasks.explain_playlist import ExplainedPlaylist, ShownTrack, explain_playlist
from tasks.ml.contributions import SOURCES
from tasks.parameters import SampleParameters
from tasks.past_runs import find_models
from tasks.playlist_view import as_markdown
from tasks.storage import Storage
from tests.bigquery_emulator import PROJECT, BigQuery
from tests.conftest import RunFlow, computed, crown, manifest_after, manifest_of
from tests.flows.test_report import HOSTILE, hostile_source
from tests.integration.processes import finish, interrupt_when, n_records, start
from tests.warehouses import member, varied_tracks, write

Row = dict[str, Any]


def read(storage: Path, file: Row) -> pd.DataFrame:
    return pd.read_parquet(storage / file["path"])


def recommended(storage: Path, manifest: Row) -> pd.DataFrame:
    return pd.concat([read(storage, file) for file in manifest["files"]["recommend_batch"]], ignore_index=True)


def message(**parameters: Any) -> str:
    """The sentence of a run that fails as it should."""
    state = recommend_tracks(**parameters, return_state=True)
    assert state.is_failed()
    return str(state.message)


@pytest.fixture(scope="module")
def brute_force(reference: Path) -> dict[str, pd.DataFrame]:
    """By playlist, every extracted track with its score and whether it is in the playlist, from model files alone.

    The shared columns are one product, the affinities are counted in a plain loop.
    """
    served = manifest_of(reference)["served"]
    assert served["fold"] == "all"
    tracks = read(reference, served["tracks"])
    X = read(reference, served["features"]["file"]).to_numpy(float)
    artist, album = tracks["artist_name"].tolist(), [*zip(tracks["artist_name"], tracks["album_name"], strict=True)]
    found = {}
    for batch, models in zip(served["preparation"]["batches"], served["models"], strict=True):
        members = read(reference, batch)
        for model in read(reference, models).itertuples():
            own = members[members["playlist_id"] == model.playlist_id]
            artists, albums = [artist[t] for t in own["track"]], [album[t] for t in own["track"]]
            counts = np.array([[artists.count(artist[i]), albums.count(album[i])] for i in range(len(X))])
            affinity = np.log1p(counts).astype(np.float32)
            score = X @ model.coefficients + affinity @ model.playlist_coefficients + model.intercept
            found[model.playlist_id] = pd.DataFrame(
                {"track_id": tracks["track_id"], "score": score, "is_inside": np.isin(np.arange(len(X)), own["track"])}
            )
    return found


@pytest.fixture(scope="module")
def served(reference: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Row]:
    """A storage in which recommendations were made once, and their manifest."""
    storage = Path(shutil.copytree(reference, tmp_path_factory.mktemp("served") / "storage"))
    (storage / "champion.json").unlink(missing_ok=True)
    return storage, manifest_after(recommend_tracks, storage, run="latest")


def test_recommendations_are_those_of_a_brute_force(
    served: tuple[Path, Row], brute_force: dict[str, pd.DataFrame]
) -> None:
    storage, manifest = served
    found = recommended(storage, manifest)
    assert found.columns.tolist() == ["playlist_id", "rank", "track_id", "score"]
    assert found.equals(found.sort_values(["playlist_id", "rank"], ignore_index=True))
    assert found["playlist_id"].unique().tolist() == sorted(brute_force)
    for playlist_id, rows in found.groupby("playlist_id"):
        expected = brute_force[str(playlist_id)]
        outside = expected[~expected["is_inside"]].sort_values("score", ascending=False).head(500)
        assert rows["rank"].tolist() == list(range(1, 501))
        np.testing.assert_allclose(rows["score"], outside["score"], atol=1e-9)
        own = expected.set_index("track_id").loc[rows["track_id"]]
        assert not own["is_inside"].any()
        np.testing.assert_allclose(rows["score"], own["score"], atol=1e-9)
        assert rows["track_id"].is_unique


def test_the_manifest_says_where_they_come_from(served: tuple[Path, Row]) -> None:
    storage, manifest = served
    (models_of,) = [path.parent for path in storage.glob("runs/*/report.html")]
    assert manifest["models_of"] == models_of.relative_to(storage).as_posix()
    assert (manifest["playlists"], manifest["rows"]) == ({"trained": 24}, 24 * 500)
    assert manifest["parameters"] == {"run": "latest", "top": 500, "destination": ""}
    assert computed(manifest) == {"find_model_run": 1, "recommend_batch": 3}


def test_a_second_run_reuses_them_and_more_tracks_are_computed(served: tuple[Path, Row]) -> None:
    storage, first = served
    again = manifest_after(recommend_tracks, storage, run=first["models_of"])
    assert again["files"] == first["files"] and again["tasks"]["recommend_batch"]["reused"] == 3
    everything = manifest_after(recommend_tracks, storage, run=first["models_of"], top=100_000)
    assert everything["tasks"]["recommend_batch"]["reasons"] == {"input top changed": 3}
    sizes = recommended(storage, everything).groupby("playlist_id").size()
    n_tracks = manifest_of_training(storage)["sample"]["tracks"]
    members = pd.concat([read(storage, file) for file in manifest_of_training(storage)["files"]["prepare_batches"][:3]])
    assert (sizes + members.groupby("playlist_id").size() == n_tracks).all()


def manifest_of_training(storage: Path) -> Row:
    (path,) = [path.parent / "manifest.json" for path in storage.glob("runs/*/report.html")]
    return dict(pd.read_json(path, typ="series"))


def test_the_champion_is_used_unless_another_run_is_named(served: tuple[Path, Row]) -> None:
    storage, manifest = served
    assert "has no champion" in message(storage=str(storage))
    crown(storage, manifest["models_of"])
    assert manifest_after(recommend_tracks, storage)["models_of"] == manifest["models_of"]
    crown(storage, "runs/../../etc")
    assert "damaged" in message(storage=str(storage))
    (storage / "champion.json").unlink()


def test_a_playlist_that_is_shown_is_the_same_as_in_the_files(served: tuple[Path, Row]) -> None:
    storage, manifest = served
    run, rows = find_models(Storage(str(storage)), manifest["models_of"]), recommended(storage, manifest)
    for playlist_id in rows["playlist_id"].unique()[[0, -1]]:
        explained = explain_playlist(str(storage), run, playlist_id, 20)
        mine = rows[rows["playlist_id"] == playlist_id]
        assert [one.score for one in explained.recommended] == pytest.approx(mine["score"].tolist()[:20], abs=1e-9)


def test_of_a_playlist_only_what_it_needs_has_to_be_whole(storage: Path) -> None:
    run = find_models(Storage(str(storage)), "latest")
    ids = [read(storage, models.model_dump())["playlist_id"][0] for models in run.served.models]
    (storage / run.served.models[-1].path).write_bytes(b"damaged")
    assert explain_playlist(str(storage), run, ids[0], 3).playlist_id == ids[0]
    for wanted in (ids[-1], "no playlist"):
        with pytest.raises(InputError, match=f"file damaged: {run.served.models[-1].path} .*start train-playlists"):
            explain_playlist(str(storage), run, wanted, 3)
    (storage / run.served.features.file.path).unlink()
    with pytest.raises(InputError, match=f"file missing: {run.served.features.file.path}"):
        explain_playlist(str(storage), run, ids[1], 3)


def test_a_playlist_is_shown_or_loaded(server: dict[str, str], tmp_path: Path) -> None:
    said = message(storage=str(tmp_path), playlist="p", destination="bigquery://a/b/c?location=EU")
    assert said == "playlist 'p' is only shown: leave out the destination, or the playlist."


def test_of_a_shown_playlist_the_artifact_has_at_most_a_thousand_tracks() -> None:
    track = ShownTrack("artist", "name", 1.0, dict.fromkeys(SOURCES, 0.0))
    text = as_markdown(ExplainedPlaylist("p", "runs/r", 5, [track] * 5, [track] * 5000))
    assert sum(line.startswith("| ") for line in text.splitlines()) == 2 + 1000
    assert "| 995 | artist |" in text


@pytest.mark.parametrize("name", ["nonsense", "../../etc/passwd", "00000000", "runs/20200101T000000Z-00000000"])
def test_a_run_that_is_not_there_is_one_sentence(name: str, served: tuple[Path, Row]) -> None:
    said = message(storage=str(served[0]), run=name)
    assert name.removeprefix("runs/") in said and ("no run is called" in said or "has no finished run" in said)


def test_a_misspelt_storage_is_not_created(tmp_path: Path, server: dict[str, str]) -> None:
    assert "has no runs: correct its name" in message(storage=str(tmp_path / "misspelt"))
    assert not (tmp_path / "misspelt").exists()


def test_a_storage_that_is_a_file_is_one_sentence(tmp_path: Path, server: dict[str, str]) -> None:
    (tmp_path / "file").write_text("x")
    for options in ({}, {"playlist": "any"}):
        assert f"storage '{tmp_path}/file'" in message(storage=str(tmp_path / "file"), **options)


def test_a_run_of_another_kind_is_one_sentence(served: tuple[Path, Row]) -> None:
    storage, manifest = served
    assert "is a run of recommend-tracks, which leaves no models" in message(
        storage=str(storage), run=manifest["run_id"]
    )


def test_a_damaged_manifest_is_one_sentence(storage: Path) -> None:
    (path,) = storage.glob("runs/*/manifest.json")
    path.write_text(path.read_text()[:1000])
    assert f"runs/{path.parent.name}/manifest.json of storage '{storage}' cannot be read" in message(
        storage=str(storage), run=path.parent.name
    )


def test_a_damaged_model_is_one_sentence_and_training_heals_it(storage: Path, run_flow: RunFlow) -> None:
    file = manifest_of(storage)["served"]["models"][1]["path"]
    (storage / file).write_bytes(b"damaged")
    said = message(storage=str(storage), run="latest")
    assert file in said and "start train-playlists again" in said
    assert computed(run_flow(storage)) == {"train_batch_all": 1}
    assert manifest_after(recommend_tracks, storage, run="latest")["rows"] == 24 * 500


def test_playlists_without_a_model_get_nothing_and_are_counted(run_flow: RunFlow, tmp_path: Path) -> None:
    tracks = varied_tracks(40)
    rows = [member(f"p{j}", tracks[(7 * j + i) % 40]["trackid"]) for j in range(6) for i in range(12)]
    rows += [member("lonely", "t0001"), member("few", "t0002")]
    run_flow(tmp_path / "s", source=write(tmp_path / "source", rows, tracks), sample=SampleParameters(min_tracks=1))
    manifest = manifest_after(recommend_tracks, tmp_path / "s", run="latest", top=30)
    assert manifest["playlists"] == {"too_few": 2, "trained": 6}
    found = recommended(tmp_path / "s", manifest)
    assert found.groupby("playlist_id").size().to_dict() == {f"p{j}": 28 for j in range(6)}  # all that are not in it
    assert "has no model: too_few (1 train tracks" in message(storage=str(tmp_path / "s"), run="latest", playlist="few")


def test_killed_and_resumed(server: dict[str, str], served: tuple[Path, Row], storage: Path) -> None:
    options = ("--run", "latest", "--compute.workers", "1")
    process = start(storage, server, *options, flow="recommend_tracks")
    interrupt_when(process, lambda: n_records(storage, "recommend-batch") >= 1, signal.SIGKILL)
    n_finished = n_records(storage, "recommend-batch")
    assert not [path for path in storage.glob("runs/*/started.json") if "recommend" not in path.read_text()][1:]
    manifest = finish(start(storage, server, *options, flow="recommend_tracks"))
    assert manifest["tasks"]["recommend_batch"]["reused"] == n_finished
    assert manifest["tasks"]["recommend_batch"]["computed"] == 3 - n_finished
    assert manifest["files"] == served[1]["files"]


@pytest.fixture(scope="module")
def hostile(run_flow: RunFlow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hostile")
    run_flow(folder / "storage", source=hostile_source(folder / "source"))
    return folder / "storage"


def test_hostile_names_are_only_text(hostile: Path) -> None:
    assert manifest_after(recommend_tracks, hostile, run="latest", top=3)["playlists"] == {"trained": 10}
    for j in (0, 4, 5, 7):  # any playlist shows tracks of all names; these have the worst ids
        name = HOSTILE[j]
        shown = str(recommend_tracks(storage=str(hostile), run="latest", playlist=f"{name} {j}", top=3))
        assert re.findall(r"^ +(in it|\d) .* -?\d+\.\d\d(?: +[+-]\d+\.\d\d){4} +$", shown, re.M) == ["in it"] * 5 + [
            *"123"
        ]
        assert shown.replace("\n", "").isprintable()
    said = message(storage=str(hostile), run="latest", playlist="<script>\n")
    assert "there is no playlist '<script>\\n' among the 10" in said and "\n" not in said


def test_recommendations_are_loaded_into_a_table_in_place_of_others(
    served: tuple[Path, Row], bigquery: BigQuery
) -> None:
    storage, first = served
    bigquery.client.create_dataset(f"{PROJECT}.recommended", exists_ok=True)
    destination = f"bigquery://{PROJECT}/recommended/tracks?location=EU"
    for top in (3, 500):
        manifest = manifest_after(recommend_tracks, storage, run=first["models_of"], top=top, destination=destination)
        assert manifest["status"] == "completed", manifest["message"]
    rows = bigquery.client.query(f"SELECT * FROM `{PROJECT}.recommended.tracks` ORDER BY playlist_id, rank").result()
    found = pd.DataFrame([dict(row) for row in rows])
    expected = recommended(storage, manifest)
    assert found.astype({"rank": "int32"}).equals(expected)
    assert len(found) == 24 * 500 and manifest["files"] == first["files"]


def test_a_wrong_destination_is_said_before_anything_is_computed(served: tuple[Path, Row]) -> None:
    manifest = manifest_after(recommend_tracks, served[0], run="latest", top=7, destination="table")
    assert manifest["message"].startswith("destination 'table' is not of the form bigquery://project/")
    assert manifest["tasks"] == {}
