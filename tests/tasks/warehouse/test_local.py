"""The source contract on a folder: planted faults, and one sentence for each thing that is missing."""

from __future__ import annotations

import random
import tempfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tasks.errors import InputError
from tasks.warehouse.contract import FEATURES
from tasks.warehouse.sources import open_warehouse
from tests.warehouses import member, track, write

NAN, INF = float("nan"), float("inf")


def query(source: str, *names: str, **parameters: Any) -> list[dict[str, Any]]:
    drawn = {"seed": "7", "min_tracks": 2, "n_playlists": 10} | parameters
    rows = [row for batch in open_warehouse(source).query(*names, parameters=drawn) for row in batch.to_pylist()]
    return sorted(rows, key=str)


def memberships(source: str, **parameters: Any) -> list[tuple[str, str]]:
    return [tuple(row.values()) for row in query(source, "sample", "memberships", **parameters)]


def tracks(source: str, *, whole_catalogue: bool = False) -> dict[str, dict[str, Any]]:
    rows = query(source, "sample", "tracks", whole_catalogue=whole_catalogue)
    assert len({row["track_id"] for row in rows}) == len(rows)
    return {row["track_id"]: row for row in rows}


def test_planted_faults_give_the_documented_result(tmp_path: Path) -> None:
    headers = [
        track("t1", energy=NAN, tempo=INF, loudness=-INF),
        track("t2", key=9),
        track("t2", key=2),  # conflicting: the smallest row counts, whatever the order
        track("t3", **dict.fromkeys(FEATURES, NAN)),  # no feature at all
        track(None),
        track("t4"),
    ]
    playlists = [
        *[member("p", uri) for uri in ("t1", "t1", "t2", "t3", None, "unknown")],
        *[member(None, uri) for uri in ("t1", "t2")],
        member("one", "t1"),  # too small
        *[member("q", "t1", artist="Z"), member("q", "t2", artist=None)],
    ]
    source = write(tmp_path, playlists, headers)
    assert memberships(source) == [("p", "t1"), ("p", "t2"), ("q", "t1"), ("q", "t2")]
    found = tracks(source)
    assert set(found) == {"t1", "t2"}
    assert [found["t1"][name] for name in ("energy", "tempo", "loudness", "valence")] == [None, None, None, 0.5]
    assert found["t2"]["key"] == 2.0
    assert [found[t]["artist_name"] for t in ("t1", "t2")] == ["A", "A"]
    assert set(tracks(source, whole_catalogue=True)) == {"t1", "t2", "t4"}
    assert tracks(source, whole_catalogue=True)["t4"]["artist_name"] is None


def test_integer_and_string_ids_draw_the_same_sample(tmp_path: Path) -> None:
    headers = [track(f"t{i}") for i in range(3)]
    rows = [(pid, f"t{i}") for pid in range(50) for i in range(3)]
    integers = write(tmp_path / "i", [member(pid, uri) for pid, uri in rows], headers)
    strings = write(tmp_path / "s", [member(str(pid), uri) for pid, uri in rows], headers)
    assert memberships(integers) == memberships(strings)
    assert len(memberships(integers)) == 30


def test_samples_are_nested_and_depend_on_the_seed(tmp_path: Path) -> None:
    headers = [track(f"t{i}") for i in range(3)]
    source = write(tmp_path, [member(f"p{p}", f"t{i}") for p in range(60) for i in range(3)], headers)
    small, large = set(memberships(source, n_playlists=5)), set(memberships(source, n_playlists=20))
    assert small < large
    assert set(memberships(source, n_playlists=5, seed="8")) != small


@settings(max_examples=12, deadline=None)
@given(
    sizes=st.dictionaries(
        st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.integers(1, 6), max_size=12
    ),
    n=st.integers(1, 12),
    seed=st.integers(0, 99),
    order=st.randoms(use_true_random=False),
)
def test_any_sample_is_repeatable_nested_and_blind_to_row_order(
    sizes: dict[str, int], n: int, seed: int, order: random.Random
) -> None:
    rows = [member(pid, f"t{i}") for pid, size in sizes.items() for i in range(size)]
    headers = [track(f"t{i}") for i in range(6)]
    if not rows:
        return
    with tempfile.TemporaryDirectory() as folder:
        source = write(Path(folder, "a"), rows, headers)
        order.shuffle(rows)
        shuffled = write(Path(folder, "b"), rows, headers)
        found = memberships(source, n_playlists=n, seed=str(seed), min_tracks=3)
        assert memberships(shuffled, n_playlists=n, seed=str(seed), min_tracks=3) == found
        assert set(found) <= set(memberships(source, n_playlists=n + 1, seed=str(seed), min_tracks=3))
    drawn = {pid for pid, _ in found}
    eligible = {pid for pid, size in sizes.items() if size >= 3}
    assert drawn <= eligible and len(drawn) == min(n, len(eligible))
    assert len(found) == sum(sizes[pid] for pid in drawn)


HOSTILE = ["a,b", "a/b", "../x", "it's", 'say "x"', "two\nlines", "🎧", "<script>", "%s", "$seed", "@seed"]


def test_hostile_ids_pass_through_unchanged(tmp_path: Path) -> None:
    rows = [member(pid, uri) for pid in HOSTILE for uri in HOSTILE]
    source = write(tmp_path, rows, [track(uri) for uri in HOSTILE])
    assert set(memberships(source, n_playlists=100)) == {(pid, uri) for pid in HOSTILE for uri in HOSTILE}


def test_parts_are_one_table_and_the_snapshot_is_its_content(tmp_path: Path) -> None:
    rows, headers = [member("p", "t1"), member("p", "t2")], [track("t1"), track("t2")]
    source = write(tmp_path / "a", rows, headers)
    parts = tmp_path / "b" / "playlists"
    parts.mkdir(parents=True)
    for i, row in enumerate(rows):
        pq.write_table(pa.Table.from_pylist([row]), parts / f"{i}.parquet")
    pq.write_table(pa.Table.from_pylist(headers), tmp_path / "b" / "tracks_headers.parquet")
    other = str(tmp_path / "b")
    assert memberships(other) == memberships(source)
    before = open_warehouse(other).snapshot()
    assert before["tracks_headers"] == open_warehouse(source).snapshot()["tracks_headers"]
    (parts / "0.parquet").rename(parts / "9.parquet")
    assert open_warehouse(other).snapshot() == before
    pq.write_table(pa.Table.from_pylist([member("p", "t3")]), parts / "0.parquet")
    assert open_warehouse(other).snapshot() != before


def write_parts(folder: Path, table: str, parts: list[pa.Table]) -> None:
    (folder / table).mkdir(parents=True)
    for i, part in enumerate(parts):
        pq.write_table(part, folder / table / f"{i}.parquet")


@pytest.mark.parametrize("order", [[0, 1, 2], [2, 1, 0]])
def test_parts_of_different_types_lose_nothing(order: list[int], tmp_path: Path) -> None:
    """An integer part, an all-NULL part and a part with fractions, in any order."""
    headers = [[track("t1", danceability=1)], [track("t2", danceability=None)], [track("t3", danceability=0.25)]]
    parts = [pa.Table.from_pylist(rows) for rows in headers]
    assert [part.schema.field("danceability").type for part in parts] == [pa.int64(), pa.null(), pa.float64()]
    write_parts(tmp_path, "tracks_headers", [parts[i] for i in order])
    pids = [pa.Table.from_pylist([member(pid, f"t{i}") for i in (1, 2, 3)]) for pid in (5, "five")]
    write_parts(tmp_path, "playlists", pids)
    found = tracks(str(tmp_path))
    assert {name: row["danceability"] for name, row in found.items()} == {"t1": 1.0, "t2": None, "t3": 0.25}
    assert {pid for pid, _ in memberships(str(tmp_path))} == {"5", "five"}


def test_usual_column_types_are_read(tmp_path: Path) -> None:
    playlists = pa.Table.from_pylist([member("p", "t1"), member("p", "t2")])
    for name in ("unique_pid", "artist_name"):
        place = playlists.schema.get_field_index(name)
        playlists = playlists.set_column(place, name, playlists[name].dictionary_encode())
    headers = pa.Table.from_pylist([track("t1"), track("t2")])
    kinds = {"mode": pa.bool_(), "tempo": pa.decimal128(9, 3), "energy": pa.float32(), "trackid": pa.large_string()}
    for name, kind in kinds.items():
        headers = headers.set_column(headers.schema.get_field_index(name), name, headers[name].cast(kind))
    pq.write_table(playlists, tmp_path / "playlists.parquet")
    pq.write_table(headers, tmp_path / "tracks_headers.parquet")
    found = tracks(str(tmp_path))["t1"]
    assert [found[name] for name in ("mode", "tempo", "energy", "artist_name")] == [1.0, 0.5, 0.5, "A"]


def test_what_is_missing_is_said_in_one_sentence(tmp_path: Path) -> None:
    good = pa.Table.from_pylist([member("p", "t1")])
    headers = pa.Table.from_pylist([track("t1")])

    def message(playlists: pa.Table | bytes | None) -> str:
        folder = tmp_path / str(len(list(tmp_path.iterdir())))
        folder.mkdir()
        pq.write_table(headers, folder / "tracks_headers.parquet")
        if isinstance(playlists, bytes):
            (folder / "playlists.parquet").write_bytes(playlists)
        elif playlists is not None:
            pq.write_table(playlists, folder / "playlists.parquet")
        with pytest.raises(InputError) as error:
            open_warehouse(str(folder))
        return str(error.value)

    assert "has no table 'playlists'" in message(None)
    assert "has no column 'album_name'" in message(good.drop_columns("album_name"))
    assert "column 'unique_pid' of table 'playlists' is double" in message(
        good.set_column(0, "unique_pid", pa.array([1.5]))
    )
    assert "is not a whole Parquet file" in message(b"PAR1 and then something else")
    whole = tmp_path / "whole.parquet"
    pq.write_table(good, whole)
    assert "is not a whole Parquet file" in message(whole.read_bytes()[:-20])
    with pytest.raises(InputError, match="is not a folder"):
        open_warehouse(str(tmp_path / "nowhere"))
    with pytest.raises(InputError, match="unknown scheme"):
        open_warehouse("postgres://x")
    (tmp_path / "two" / "playlists").mkdir(parents=True)
    for place in ("playlists.parquet", "playlists/0.parquet", "tracks_headers.parquet"):
        pq.write_table(good if "playlists" in place else headers, tmp_path / "two" / place)
    with pytest.raises(InputError, match=r"has playlists.parquet and a folder playlists of parts"):
        open_warehouse(str(tmp_path / "two"))


def test_a_broken_page_is_one_sentence(tmp_path: Path) -> None:
    source = write(tmp_path, [member(f"p{i}", f"t{i}") for i in range(5000)], [track(f"t{i}") for i in range(5000)])
    path = tmp_path / "playlists.parquet"
    content = bytearray(path.read_bytes())
    content[8:4000] = b"\xff" * 3992
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"a table of source .* cannot be read"):
        memberships(source)
