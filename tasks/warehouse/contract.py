"""The source contract: two tables, and what the extracts make of them. Pure: no Prefect, no Google."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeVar

import pyarrow as pa

from tasks.errors import InputError

T = TypeVar("T")

FEATURES = (
    "danceability",
    "energy",
    "key",
    "loudness",
    "mode",
    "speechiness",
    "acousticness",
    "instrumentalness",
    "liveness",
    "valence",
    "tempo",
    "duration_ms",
    "time_signature",
)

# What each column of a source table may be: an id (string or integer), a text or a number.
TABLES: dict[str, dict[str, str]] = {
    "playlists": {
        "unique_pid": "id",
        "track_uri": "id",
        "artist_name": "text",
        "track_name": "text",
        "album_name": "text",
    },
    "tracks_headers": {"trackid": "id"} | dict.fromkeys(FEATURES, "number"),
}

KINDS = {"id": "an integer or text", "text": "text", "number": "a number"}

# How the version of a table begins that does not carry the date of its data: no two such versions are equal.
UNDATED = "extracted every time"

MEMBERSHIPS = pa.schema([("playlist_id", pa.string()), ("track_id", pa.string())])

TRACKS = pa.schema(
    [(name, pa.string()) for name in ("track_id", "artist_name", "track_name", "album_name")]
    + [(name, pa.float64()) for name in FEATURES]
)


ARROW_TYPES = {"id": pa.string(), "text": pa.string(), "number": pa.float64()}

# How loaded tables are written: every id as text, so that 7 and "007" stay apart and parts agree on the type.
SCHEMAS = {
    table: pa.schema([(name, ARROW_TYPES[kind]) for name, kind in columns.items()]) for table, columns in TABLES.items()
}

# Without these a row says nothing; the other columns may be NULL.
KEYS = {"playlists": ("unique_pid", "track_uri"), "tracks_headers": ("trackid",)}


def check_columns(table: str, place: str, types: Mapping[str, T], is_kind: Callable[[T, str], bool]) -> None:
    """Raise InputError unless a table, found at `place`, has every column of the contract with a type of its kind.

    types: the engine's own, by column. is_kind: whether such a type is an id, a text or a number.
    """
    for name, kind in TABLES[table].items():
        if name not in types:
            raise InputError(f"table {table!r} has no column {name!r} (in {place!r}): add it, NULL if unknown.")
        if not is_kind(types[name], kind):
            raise InputError(
                f"column {name!r} of table {table!r} is {types[name]}: it must be {KINDS[kind]} (in {place!r})."
            )


def dated(snapshot: Mapping[str, str]) -> dict[str, str]:
    """The tables of a snapshot whose version changes exactly if their data does."""
    return {table: version for table, version in snapshot.items() if not version.startswith(UNDATED)}
