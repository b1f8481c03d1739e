"""Slices as they are, and whatever else a file of that name may hold."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.warehouse.rows import Rows, UnreadableError
from tasks.warehouse.slices import read_slice
from tests.slices import document


def read(playlists: Any) -> Rows:
    return read_slice(json.dumps({"info": {}, "playlists": playlists}).encode())


def test_every_track_of_every_playlist_is_a_row() -> None:
    content = document(1000, 20, 500)
    rows = read_slice(json.dumps(content, indent=4).encode())
    assert rows.table.to_pylist() == [
        {
            "unique_pid": str(playlist["pid"]),
            **{name: track[name] for name in ("track_uri", "artist_name", "track_name", "album_name")},
        }
        for playlist in content["playlists"]
        for track in playlist["tracks"]
    ]
    assert not rows.rejected and not rows.nulled


def test_every_bad_row_is_counted_and_the_others_stay() -> None:
    good = {"track_uri": "a", "artist_name": "x"}
    rows = read(
        [
            "text",
            {"pid": 1},
            {"pid": 1, "tracks": {}},
            {"pid": None, "tracks": [good, good]},
            {"pid": True, "tracks": [good]},
            {"pid": 7, "tracks": [good, None, 3, {"artist_name": "y"}, {"track_uri": 5}, {"track_uri": ""}]},
            {"pid": "p", "tracks": [good | {"artist_name": ["x"]}, good | {"album_name": "\ud800"}]},
        ]
    )
    assert [tuple(row.values()) for row in rows.table.to_pylist()] == [
        ("7", "a", "x", None, None),
        ("p", "a", None, None, None),
        ("p", "a", "x", None, "?"),
    ]
    assert rows.rejected == {
        "playlist is no JSON object": 1,
        "playlist has no list of tracks": 2,
        "unique_pid missing": 3,
        "track is no JSON object": 2,
        "track_uri missing": 3,
    }
    assert rows.nulled == {"track_uri is no text": 1, "artist_name is no text": 1}


def test_an_id_may_be_a_whole_float_or_half_a_surrogate_pair() -> None:
    track = {"track_uri": "a"}
    rows = read([{"pid": pid, "tracks": [track]} for pid in (1.0, -2e3, 1.5, "x\ud800", 7)])
    assert rows.table["unique_pid"].to_pylist() == ["1", "-2000", "x?", "7"]
    assert rows.rejected == {"unique_pid missing": 1}


def test_a_slice_without_playlists_has_no_rows() -> None:
    assert read([]).table.num_rows == 0


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "not whole JSON, or none"),
        (json.dumps(document(0, 3, 50)).encode()[:-30], "not whole JSON, or none"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"[" * 200_000, "not JSON \\(RecursionError\\)"),
        (b'{"playlists": [' + b"1" * 5000 + b"]}", "not JSON"),
        (b"[]", 'not a slice: a JSON object with a list "playlists"'),
        (b'{"playlists": {}}', "not a slice"),
    ],
    ids=["empty", "cut short", "no text", "deep", "huge number", "a list", "no list"],
)
def test_what_is_no_slice_says_why(content: bytes, said: str) -> None:
    with pytest.raises(UnreadableError, match=said):
        read_slice(content)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["pid", "tracks", "track_uri"]), inner),
    max_leaves=20,
)


@given(st.lists(JSON, max_size=5))
def test_any_json_is_read_or_counted(playlists: list[Any]) -> None:
    rows = read(playlists)
    tracks = [p["tracks"] if isinstance(p, dict) and isinstance(p.get("tracks"), list) else [None] for p in playlists]
    assert rows.table.num_rows + rows.rejected.total() == sum(map(len, tracks))
