"""The loader as a whole: what comes in feeds the training, what is bad is named, what is interrupted goes on."""

from __future__ import annotations

import secrets
import shutil
import signal
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from flows.load_warehouse import load_warehouse
from tasks import load
from tasks.parameters import ColumnParameters, ComputeParameters, LoadingParameters
from tests.bigquery_emulator import PROJECT, BigQuery
from tests.conftest import RunFlow, manifest_after
from tests.integration.processes import finish, interrupt_when, n_records, start
from tests.slices import document, features, playlist, write_slice

N_TRACKS, N_SLICES, N_PLAYLISTS = 300, 3, 12
NAMES = ("unique_pid", "track_uri", "artist_name", "track_name", "album_name")


@pytest.fixture(scope="session")
def given(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three slices, and features of their tracks under bare ids. Nobody writes to it: see `inputs`."""
    folder = tmp_path_factory.mktemp("given")
    for i in range(N_SLICES):
        write_slice(folder / "data", document(1000 * i, N_PLAYLISTS, N_TRACKS, mean=30))
    pq.write_table(features(N_TRACKS), folder / "features.parquet")
    return folder


@pytest.fixture
def inputs(given: Path, tmp_path: Path) -> Path:
    """A copy, to damage and to add to."""
    return Path(shutil.copytree(given, tmp_path / "given"))


class Loader:
    """The flow in this process, on a storage and a destination of its own."""

    def __init__(self, folder: Path) -> None:
        self.storage, self.destination = folder / "storage", folder / "warehouse"

    def __call__(self, inputs: Path, **parameters: Any) -> dict[str, Any]:
        given = {"playlists": str(inputs / "data"), "tracks": str(inputs / "features.parquet")}
        return manifest_after(
            load_warehouse, self.storage, **(given | {"destination": str(self.destination)} | parameters)
        )

    def rows(self, table: str = "playlists") -> list[tuple[Any, ...]]:
        return duckdb.sql(f"SELECT * FROM '{self.destination}/{table}/*.parquet' ORDER BY ALL").fetchall()


@pytest.fixture
def loader(server: dict[str, str], tmp_path: Path) -> Loader:
    return Loader(tmp_path)


def rows_of(*playlists: dict[str, Any]) -> list[tuple[str, ...]]:
    """What the table of these playlists holds."""
    rows = [(str(p["pid"]), *(track[name] for name in NAMES[1:])) for p in playlists for track in p["tracks"]]
    return sorted(rows)


def given_playlists(*numbers: int) -> list[dict[str, Any]]:
    """The playlists of some slices of `given`."""
    return [p for i in numbers for p in document(1000 * i, N_PLAYLISTS, N_TRACKS, mean=30)["playlists"]]


def computed(manifest: dict[str, Any]) -> dict[str, int]:
    """How many files and checks were computed; finding out what there is, and putting it in place, always is."""
    return {
        stage: counts["computed"]
        for stage, counts in manifest["tasks"].items()
        if counts["computed"] and stage not in ("read_inputs", "publish_tables")
    }


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-500])


def test_slices_become_a_warehouse_that_training_reads(loader: Loader, given: Path, run_flow: RunFlow) -> None:
    manifest = loader(given)
    assert manifest["status"] == "completed", manifest["message"]
    expected = rows_of(*given_playlists(0, 1, 2))
    assert loader.rows() == expected
    table = manifest["summary"]["tables"]["playlists"]
    assert (table["n_files"], table["n_bad_files"], table["n_rejected"]) == (3, 0, 0)
    assert table["n_rows"] == table["n_kept"] == len(expected)
    assert manifest["summary"]["tables"]["tracks_headers"]["absent"] == {"time_signature": 1}
    matches = {"kind": "matches", "n_memberships": len(expected), "n_with_features": len(expected)}
    assert manifest["summary"]["matches"] == matches
    trained = run_flow(loader.storage, source=str(loader.destination))
    assert trained["status"] == "completed", trained["message"]
    assert trained["sample"]["found"] == 24
    assert trained["models"] == {"trained": 24}


def test_again_computes_nothing_and_a_changed_slice_alone_is_read(loader: Loader, inputs: Path) -> None:
    loader(inputs)
    before = {path: path.stat().st_ino for path in loader.destination.rglob("*")}
    again = loader(inputs)
    assert computed(again) == {}
    assert again["tasks"]["load_playlists"]["reused"] == 3
    assert {path: path.stat().st_ino for path in loader.destination.rglob("*")} == before

    first = sorted((inputs / "data").iterdir())[0]
    shutil.copy(first, first.with_name("mpd.slice.copy.json"))
    other = playlist(77, [1, 2])
    write_slice(inputs / "data", {"info": {"slice": "1000-1011"}, "playlists": [other]})
    changed = loader(inputs, compute=ComputeParameters(workers=1))
    assert computed(changed) == {"load_playlists": 1, "match_tracks": 1}
    assert changed["tasks"]["load_playlists"]["reasons"] == {"input file changed": 1}
    assert changed["summary"]["copies"] == [str(first.with_name("mpd.slice.copy.json"))]
    assert loader.rows() == rows_of(other, *given_playlists(0, 2))

    moved = loader(Path(shutil.move(inputs, inputs.with_name("moved"))))
    assert computed(moved) == {}


def test_bad_slices_are_named_and_nothing_is_loaded_unless_they_are_allowed(loader: Loader, inputs: Path) -> None:
    loader(inputs)
    before = loader.rows()
    cut_short(inputs / "data" / "mpd.slice.1000-1011.json")
    (inputs / "data" / "mpd.slice.9000-9999.json").write_text("[]")
    bad_rows: dict[str, Any] = {
        "info": {"slice": "8000-8001"},
        "playlists": [playlist(8000, [1, 2]), playlist(8001, [3]), "odd"],
    }
    del bad_rows["playlists"][0]["tracks"][0]["track_uri"]
    bad_rows["playlists"][1]["pid"] = None
    write_slice(inputs / "data", bad_rows)

    failed = loader(inputs)
    assert failed["status"] == "failed"
    assert failed["message"].startswith("2 of 6 files cannot be read (")
    assert "mpd.slice.1000-1011.json: not whole JSON, or none (" in failed["message"]
    assert "mpd.slice.9000-9999.json: not a slice: a JSON object with a list" in failed["message"]
    assert failed["message"].endswith("or allow so many with --loading.max-bad-files 2.")
    assert loader.rows() == before
    assert loader(inputs, loading=LoadingParameters(max_bad_files=1))["status"] == "failed"

    allowed = loader(inputs, loading=LoadingParameters(max_bad_files=2))
    assert allowed["status"] == "completed"
    assert computed(allowed) == {"match_tracks": 1}
    table = allowed["summary"]["tables"]["playlists"]
    reasons = {"playlist is no JSON object": 1, "track_uri missing": 1, "unique_pid missing": 1}
    assert table["rejected"] == reasons
    assert {Path(path).name for path in table["bad_files"]} == {"mpd.slice.1000-1011.json", "mpd.slice.9000-9999.json"}
    assert table["n_rows"] == table["n_kept"] + 3
    assert len(loader.rows()) == table["n_kept"]
    good_rows = bad_rows["playlists"][0] | {"tracks": bad_rows["playlists"][0]["tracks"][1:]}
    assert loader.rows() == rows_of(good_rows, *given_playlists(0, 2))


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_same_playlists_under_other_column_names(form: str, loader: Loader, tmp_path: Path) -> None:
    """Parts of CSV or Parquet with bare ids, and features as CSV, give what the slices give."""
    rows = rows_of(*given_playlists(0, 1, 2))
    columns = dict(zip(NAMES, map(list, zip(*rows, strict=True)), strict=True))
    given = {"pid": columns["unique_pid"], "song": [uri.split(":")[2] for uri in columns["track_uri"]]}
    table = pa.table(given | {"singer": columns["artist_name"]} | {name: columns[name] for name in NAMES[3:]})
    (tmp_path / "parts").mkdir()
    for i, part in enumerate((table.slice(0, 400), table.slice(400))):
        path = tmp_path / "parts" / f"{i}.{form}"
        pa.csv.write_csv(part, path) if form == "csv" else pq.write_table(part, path)
    pa.csv.write_csv(features(N_TRACKS).rename_columns({"trackid": "id"}), tmp_path / "features.csv")
    names = ColumnParameters(unique_pid="pid", track_uri="song", artist_name="singer", trackid="id")
    places = {"playlists": str(tmp_path / "parts"), "tracks": str(tmp_path / "features.csv")}
    manifest = loader(tmp_path, **places, columns=names)
    assert manifest["status"] == "completed", manifest["message"]
    assert loader.rows() == rows
    assert loader.rows("tracks_headers")[0][0].startswith("spotify:track:")

    wrong = loader(tmp_path, **places, columns=ColumnParameters(unique_pid="pid", track_uri="song", trackid="id"))
    assert wrong["status"] == "completed"
    assert wrong["summary"]["tables"]["playlists"]["absent"] == {"artist_name": 2}
    unknown = loader(tmp_path, **places)
    assert "3 of 3 files cannot be read" in unknown["message"]
    assert "no column 'unique_pid' for unique_pid (there are 'pid', 'song'" in unknown["message"]


def test_ids_that_do_not_meet_are_noticed_before_anything_is_replaced(loader: Loader, inputs: Path) -> None:
    pq.write_table(pa.table({"trackid": ["x1", "x2"], "tempo": [1.0, 2.0]}), inputs / "features.parquet")
    manifest = loader(inputs)
    assert manifest["status"] == "failed"
    assert "memberships has a track with features ('spotify:track:" in manifest["message"]
    assert "'x1' in the tracks)" in manifest["message"]
    assert not loader.destination.exists()


def test_a_file_that_changes_while_it_is_read_is_not_kept(
    loader: Loader, inputs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read_slice = load.read_slice
    path = inputs / "features.parquet"

    def append_to_features(content: bytes) -> Any:
        path.write_bytes(path.read_bytes() + b" ")
        return read_slice(content)

    monkeypatch.setattr(load, "read_slice", append_to_features)
    manifest = loader(inputs)
    assert manifest["status"] == "failed"
    assert "features.parquet' changed while it was read: start again when nothing writes to it" in manifest["message"]
    assert not loader.destination.exists()


def test_a_slice_too_large_for_one_is_not_read(loader: Loader, given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load, "MAX_BYTES", 1000)
    manifest = loader(given)
    assert "3 of 4 files cannot be read" in manifest["message"]
    assert "at most 1,000 are read" in manifest["message"]


def test_killed_and_started_again(server: dict[str, str], tmp_path: Path, given: Path) -> None:
    """SIGKILL to the real process after two slices; the next one reads the rest and leaves what it would have left."""
    for i in range(6):
        write_slice(tmp_path / "data", document(1000 * i, 100, N_TRACKS))
    loader, options = Loader(tmp_path), ["--playlists", str(tmp_path / "data"), "--compute.workers", "1"]
    options += ["--tracks", str(given / "features.parquet"), "--destination", str(loader.destination)]
    process = start(loader.storage, server, *options, flow="load_warehouse")
    interrupt_when(process, lambda: n_records(loader.storage, "load-playlists") >= 2, signal.SIGKILL)
    assert not loader.destination.exists()
    manifest = finish(start(loader.storage, server, *options, flow="load_warehouse"))
    counts = manifest["tasks"]["load_playlists"]
    assert counts["reused"] >= 2 and counts["computed"] == 6 - counts["reused"] > 0
    whole = Loader(tmp_path / "whole")
    whole(given, playlists=str(tmp_path / "data"))
    assert loader.rows() == whole.rows()
    assert (loader.destination / "loaded.json").read_bytes() == (whole.destination / "loaded.json").read_bytes()


def test_into_bigquery_and_again(loader: Loader, inputs: Path, bigquery: BigQuery) -> None:
    dataset = f"{PROJECT}.loaded_{secrets.token_hex(4)}"
    bigquery.client.create_dataset(dataset)
    place = {"destination": f"bigquery://{dataset.replace('.', '/')}?location=EU"}
    for _ in range(2):
        manifest = loader(inputs, **place)
        assert manifest["status"] == "completed", manifest["message"]
        assert sorted(row.values() for row in bigquery.client.list_rows(f"{dataset}.playlists")) == rows_of(
            *given_playlists(0, 1, 2)
        )
        assert len(list(bigquery.client.list_rows(f"{dataset}.tracks_headers"))) == N_TRACKS
    assert computed(manifest) == {}
    missing = loader(inputs, destination=f"bigquery://{PROJECT}/nowhere")
    assert "create the dataset first (bq mk" in missing["message"]


def test_a_mistake_is_one_sentence(server: dict[str, str], tmp_path: Path, given: Path) -> None:
    options = {"playlists": given / "data", "tracks": given / "nowhere.csv", "destination": tmp_path / "x"}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = start(tmp_path / "storage", server, *words, flow="load_warehouse")
    output, errors = process.communicate(timeout=120)
    assert process.returncode == 1 and output == ""
    assert "Traceback" not in errors
    assert errors.splitlines()[-1].startswith(f"load-warehouse: --tracks '{given}/nowhere.csv' has no files to load")
    assert not (tmp_path / "x").exists()


def test_a_wrong_option_is_named_though_others_are_required(server: dict[str, str], tmp_path: Path) -> None:
    words = ["--playlists", "x", "--tracks", "x", "--destination", "x", "--loading.max-bad-files", "-1"]
    process = start(tmp_path / "storage", server, *words, flow="load_warehouse")
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    assert errors == "--loading.max-bad-files -1: must be greater than or equal to 0. See --help.\n"


def test_a_destination_of_somebody_else_is_refused_before_anything_is_read(loader: Loader, inputs: Path) -> None:
    manifest = loader(inputs, destination=str(inputs))
    assert f"destination '{inputs}' holds files that were not loaded there (such as" in manifest["message"]
    assert computed(manifest) == {}
    assert manifest["summary"] is None
