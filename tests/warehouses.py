"""Small sources with whatever a test wants to be wrong in them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.warehouse.contract import FEATURES

Row = dict[str, Any]


def track(trackid: Any, **features: Any) -> Row:
    return {"trackid": trackid} | dict.fromkeys(FEATURES, 0.5) | features


def member(pid: Any, uri: Any, artist: str | None = "A", name: str | None = "N", album: str | None = "B") -> Row:
    return {"unique_pid": pid, "track_uri": uri, "artist_name": artist, "track_name": name, "album_name": album}


def write(folder: Path, playlists: list[Row], headers: list[Row]) -> str:
    """Write both tables and return the folder as a source."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(playlists), folder / "playlists.parquet")
    pq.write_table(pa.Table.from_pylist(headers), folder / "tracks_headers.parquet")
    return str(folder)


def varied_tracks(n: int, seed: int = 0) -> list[Row]:
    """n tracks whose features differ."""
    values = np.random.default_rng(seed).random((n, len(FEATURES)))
    return [track(f"t{i:04}", **dict(zip(FEATURES, row, strict=True))) for i, row in enumerate(values.tolist())]
