"""A few playlists with some of their tracks, and what their models would add."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from scipy.special import expit

from tasks.batches import load_batch
from tasks.matrices import load_catalogue
from tasks.ml.examples import pick_examples
from tasks.recommenders import Scene, score_models
from tasks.references import FileRef
from tasks.storage import Storage

N_TRACKS = 5  # of each role
NAMES = ["track_id", "artist_name", "track_name"]

EXAMPLES = pa.schema(
    [
        ("group", pa.string()),
        ("position", pa.int64()),
        ("playlist_id", pa.string()),
        ("role", pa.string()),
        ("rank", pa.int64()),
        ("probability", pa.float64()),
        *((name, pa.string()) for name in NAMES),
    ]
)


def collect_examples(scene: Scene, batches: list[FileRef], models: list[FileRef], chosen: pd.DataFrame) -> FileRef:
    """Some tracks of each chosen playlist: of train, held out, and those that the model would add.

    chosen: columns batch and place say where a playlist is; group and position are passed on. rank is among the
    candidates, NULL for train tracks; probability is the model's. Rows follow group, position, role.
    """
    rows: list[dict[str, Any]] = []
    ties = load_catalogue(scene.storage, scene.tracks).tie_order
    for number in chosen["batch"].unique():
        part = chosen[chosen["batch"] == number].sort_values("place")
        playlists = load_batch(scene.storage, batches[number]).take(part["place"].to_numpy())
        shown = part.to_dict("records")
        for j, scores in enumerate(score_models(scene, playlists, models[number])):
            if scores is None:
                raise ValueError(f"playlist {playlists.playlist_ids[j]!r} was chosen, but has no model")
            about = {name: shown[j][name] for name in ("group", "position")}
            about["playlist_id"] = playlists.playlist_ids[j]
            for example in pick_examples(scores, *playlists.masks(j, "outer", len(scores)), ties, n=N_TRACKS):
                rows.append(about | example._asdict() | {"probability": float(expit(scores[example.track]))})
    rows.sort(key=lambda row: (row["group"], row["position"]))
    store = Storage(scene.storage)
    names = read_names(store, scene.tracks, [row.pop("track") for row in rows])
    named = [row | name for row, name in zip(rows, names, strict=True)]
    return store.write_table("examples", pa.Table.from_pylist(named, schema=EXAMPLES))


def read_names(store: Storage, tracks: FileRef, positions: list[int]) -> list[dict[str, str | None]]:
    """Id, artist and name of the tracks at these rows of the tracks file, a piece of the file in memory at a time."""
    found: dict[int, dict[str, str | None]] = {}
    wanted, start = np.unique(np.asarray(positions, np.int64)), 0
    with store.open_parquet(tracks) as parquet:
        for piece in parquet.iter_batches(columns=NAMES, use_threads=False):
            inside = wanted[(wanted >= start) & (wanted < start + piece.num_rows)]
            found |= zip(inside.tolist(), piece.take(pa.array(inside - start)).to_pylist(), strict=True)
            start += piece.num_rows
    return [found[position] for position in positions]
