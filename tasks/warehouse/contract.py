"""The source contract: two tables, and what the extracts make of them. Pure: no Prefect, no Google."""

from __future__ import annotations

import pyarrow as pa

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
