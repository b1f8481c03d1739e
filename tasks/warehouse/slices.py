"""Slices of the Million Playlist Dataset: one JSON document with about 1,000 playlists. Pure: no Prefect, no Google."""

from __future__ import annotations

import json
from collections import Counter
from itertools import repeat
from typing import Any

import pyarrow as pa

from tasks.warehouse.contract import SCHEMAS
from tasks.warehouse.rows import Rows, UnreadableError, clean_rows

MAX_BYTES = 128 * 2**20  # a slice of the dataset is 35 MB; read, it takes some six times its size in memory
FIELDS = ("track_uri", "artist_name", "track_name", "album_name")


def read_slice(content: bytes) -> Rows:
    """The memberships of one slice.

    A playlist that is no object or has no list of tracks counts as one rejected row, as does a track that is no object;
    a text that is something else (a number, a list) counts as missing. Raises UnreadableError if the whole is not
    JSON, or no object with a list of playlists.
    """
    pids: list[str | None] = []
    values: dict[str, list[Any]] = {name: [] for name in FIELDS}
    rejected: Counter[str] = Counter()
    for playlist in _playlists(content):
        given = playlist.get("tracks") if isinstance(playlist, dict) else None
        if not isinstance(given, list):
            is_object = isinstance(playlist, dict)
            rejected["playlist has no list of tracks" if is_object else "playlist is no JSON object"] += 1
            continue
        tracks = [track for track in given if isinstance(track, dict)]
        rejected["track is no JSON object"] += len(given) - len(tracks)
        pids.extend(repeat(_pid(playlist.get("pid")), len(tracks)))
        for name, column in values.items():
            column.extend([track.get(name) for track in tracks])
    nulled: Counter[str] = Counter()
    columns = [pa.array(pids, pa.string())] + [_texts(name, column, nulled) for name, column in values.items()]
    rows = clean_rows("playlists", pa.table(columns, schema=SCHEMAS["playlists"]))
    return Rows(rows.table, rows.rejected + rejected, +nulled)


def _playlists(content: bytes) -> list[Any]:
    try:
        document = json.loads(content)
    except json.JSONDecodeError as error:
        raise UnreadableError(f"not whole JSON, or none ({error})") from error
    except (ValueError, RecursionError) as error:  # no Unicode, a number of thousands of digits, too many brackets
        raise UnreadableError(f"not JSON ({type(error).__name__})") from error
    playlists = document.get("playlists") if isinstance(document, dict) else None
    if not isinstance(playlists, list):
        raise UnreadableError('not a slice: a JSON object with a list "playlists" is needed')
    return playlists


def _pid(pid: object) -> str | None:
    if isinstance(pid, float) and pid.is_integer():  # how pandas keeps integers among missing values
        pid = int(pid)
    return _encodable(str(pid)) if isinstance(pid, (int, str)) and not isinstance(pid, bool) else None


def _texts(name: str, values: list[Any], nulled: Counter[str]) -> pa.Array:
    """One column; Arrow's own conversion is the fast way, and fails if one value is no text."""
    try:
        return pa.array(values, pa.string())
    except (pa.ArrowInvalid, TypeError, UnicodeEncodeError):
        texts = [_encodable(value) if isinstance(value, str) else None for value in values]
        nulled[f"{name} is no text"] += sum(value is not None and not isinstance(value, str) for value in values)
        return pa.array(texts, pa.string())


def _encodable(text: str) -> str:
    """JSON can write half a surrogate pair, which no other format can."""
    return text.encode("utf-8", "replace").decode("utf-8")
