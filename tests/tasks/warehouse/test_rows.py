"""Given rows in the contract's form: ids meet, numbers are numbers, and everything lost is counted."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.warehouse.contract import SCHEMAS
from tasks.warehouse.rows import Rows, UnreadableError, clean_rows

BARE = "4uLU6hMCjMI75M1A2tKUQC"


def playlists(**columns: list[Any]) -> Rows:
    return clean_rows("playlists", pa.table(columns))


def tracks(**columns: Any) -> Rows:
    return clean_rows("tracks_headers", pa.table(columns))


def test_a_bare_id_and_a_uri_meet() -> None:
    uri, odd = f"spotify:track:{BARE}", [f"{BARE}x", "spotify:local:a", "17", f"x/{BARE}"]
    assert playlists(unique_pid=[1] * 6, track_uri=[BARE, uri, *odd]).table["track_uri"].to_pylist() == [uri, uri, *odd]
    assert tracks(trackid=[BARE, *odd]).table["trackid"].to_pylist() == [uri, *odd]


def test_ids_become_text_whatever_they_were() -> None:
    given_ids = [
        pa.array([7, None, 8]),
        pa.array([7.0, float("nan"), 8.0]),
        pa.array(["7", None, "8"]).dictionary_encode(),
    ]
    for ids in given_ids:
        rows = clean_rows("playlists", pa.table({"unique_pid": ids, "track_uri": ["a", "b", "c"]}))
        assert rows.table["unique_pid"].to_pylist() == ["7", "8"]
        assert rows.rejected == {"unique_pid missing": 1}
    assert playlists(unique_pid=["007"], track_uri=["a"]).table["unique_pid"].to_pylist() == ["007"]


def test_a_row_without_an_id_is_rejected_once() -> None:
    rows = playlists(unique_pid=["1", "", None, None], track_uri=[None, "a", "b", None])
    assert rows.table.num_rows == 0
    assert rows.rejected == {"unique_pid missing": 3, "track_uri missing": 1}
    assert tracks(trackid=["", None, "a"]).rejected == {"trackid missing": 2}


def test_repeated_rows_stay() -> None:
    assert playlists(unique_pid=[1, 1], track_uri=["a", "a"]).table.num_rows == 2


def test_what_is_not_given_is_null() -> None:
    rows = tracks(trackid=["a"], energy=[0.5])
    assert rows.table.schema == SCHEMAS["tracks_headers"]
    assert rows.table["tempo"].to_pylist() == [None]
    assert playlists(unique_pid=["1"], track_uri=["a"]).table["artist_name"].to_pylist() == [None]


def test_numbers_in_text() -> None:
    nothing, wrong = ["", "NaN", "null", "N/A", "-inf", "\\N", None], ["0x10", "1,5", "high", "1e", "1e999", "-1e999"]
    energy = ["0.5", " -1e3 ", ".5", "5.", *nothing, *wrong]
    rows = tracks(trackid=["a"] * len(energy), energy=energy)
    assert rows.table["energy"].to_pylist() == [0.5, -1000.0, 0.5, 5.0] + [None] * 13
    assert rows.nulled == {"energy is no number": 6}


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False)))
def test_a_number_in_text_is_that_number(numbers: list[float]) -> None:
    text = pa.array([repr(number) for number in numbers], pa.string())
    rows = tracks(trackid=["a"] * len(numbers), tempo=text)
    assert rows.table["tempo"].to_pylist() == numbers
    assert not rows.nulled


@given(st.lists(st.one_of(st.none(), st.text())))
def test_any_text_is_kept_or_counted(texts: list[str | None]) -> None:
    rows = tracks(trackid=pa.array(texts, pa.string()), key=pa.array(texts, pa.string()))
    assert rows.table.num_rows + rows.rejected.total() == len(texts)


@pytest.mark.parametrize(
    ("table", "columns", "said"),
    [
        ("playlists", {"unique_pid": [1.5], "track_uri": ["a"]}, "'unique_pid' has numbers that are no integers"),
        ("playlists", {"unique_pid": [1], "track_uri": [["a"]]}, "'track_uri' is list<.*>: it must be an integer or"),
        ("playlists", {"unique_pid": [True], "track_uri": ["a"]}, "'unique_pid' is bool"),
        (
            "playlists",
            {"unique_pid": [1], "track_uri": ["a"], "album_name": [3]},
            "'album_name' is int64: it must be text",
        ),
        ("tracks_headers", {"trackid": ["a"], "key": [{"a": 1}]}, "'key' is struct<.*>: it must be a number"),
    ],
)
def test_a_type_that_is_not_allowed(table: str, columns: dict[str, list[Any]], said: str) -> None:
    with pytest.raises(UnreadableError, match=said):
        clean_rows(table, pa.table(columns))
