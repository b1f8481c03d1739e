"""Slices of the Million Playlist Dataset as they are, with made-up content, and features of their tracks."""

from __future__ import annotations

import functools
import json
import random
from pathlib import Path
from typing import Any

import pyarrow as pa

from tasks.warehouse.contract import FEATURES

LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"


@functools.cache
def track_id(number: int) -> str:
    """22 letters and digits, like Spotify's."""
    return "".join(random.Random(number).choices(LETTERS, k=22))


def track(pos: int, number: int) -> dict[str, Any]:
    ident = track_id(number)
    return {
        "pos": pos,
        "artist_name": f"Artist {number % 97}",
        "track_uri": f"spotify:track:{ident}",
        "artist_uri": f"spotify:artist:{ident}",
        "track_name": f"A song of some length, number {number} (feat. Nobody)",
        "album_uri": f"spotify:album:{ident}",
        "duration_ms": 200_000 + number,
        "album_name": f"Álbum {number % 211}",
    }


def playlist(pid: int, numbers: list[int]) -> dict[str, Any]:
    tracks = [track(pos, number) for pos, number in enumerate(numbers)]
    return {
        "name": f"Playlist {pid}",
        "collaborative": "false",
        "pid": pid,
        "modified_at": 1493424000,
        "num_tracks": len(tracks),
        "num_followers": 1,
        "tracks": tracks,
        "num_edits": 6,
    }


def document(first: int, n_playlists: int, n_tracks: int, mean: int = 66) -> dict[str, Any]:
    """One slice: playlists of 5 tracks or more, drawn from n_tracks."""
    draw = random.Random(first)
    sizes = [min(n_tracks, max(5, int(draw.expovariate(1 / mean)))) for _ in range(n_playlists)]
    playlists = [playlist(first + i, draw.sample(range(n_tracks), size)) for i, size in enumerate(sizes)]
    info = {
        "generated_on": "2017-12-03 08:41:42.057563",
        "slice": f"{first}-{first + n_playlists - 1}",
        "version": "v1",
    }
    return {"info": info, "playlists": playlists}


def write_slice(folder: Path, content: dict[str, Any]) -> Path:
    """A slice under its usual name, indented as in the dataset."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"mpd.slice.{content['info']['slice']}.json"
    path.write_text(json.dumps(content, indent=4), encoding="utf-8")
    return path


def features(n_tracks: int) -> pa.Table:
    """A row per track, with the id alone, without time_signature."""
    draw = random.Random(0)
    columns = {name: [draw.random() for _ in range(n_tracks)] for name in FEATURES if name != "time_signature"}
    return pa.table({"trackid": [track_id(number) for number in range(n_tracks)]} | columns)
