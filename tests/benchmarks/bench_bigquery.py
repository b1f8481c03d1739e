"""Whether memory stays flat while memberships stream from BigQuery: an emulator on 127.0.0.1, four sizes.

    python -m tests.benchmarks.bench_bigquery [--largest ROWS]

Every size is extracted by a process of its own, which reports the largest resident memory that it ever had: after its
imports, after streaming the result and dropping it, and after the extract (streamed to the disk, sorted, written).
Rows per second are the emulator's, which queries and serves from one Python process.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from prefect.logging import disable_run_logger

from tasks.extract import _extract
from tasks.warehouse.contract import FEATURES, MEMBERSHIPS
from tasks.warehouse.sources import Parameters, open_warehouse
from tests.benchmarks.measure import Results, Row
from tests.bigquery_emulator import serve_bigquery
from tests.conftest import ROOT

PLAYLIST = 50  # tracks
N_TRACKS = 100_000
PLAYLISTS_PER_PART = 20_000
ASKED: Parameters = {"seed": "7", "min_tracks": 10, "n_playlists": 10_000_000}


def write_tables(folder: Path, n_rows: int) -> None:
    """Playlists of random tracks; ids as long as Spotify's."""
    rng = np.random.default_rng(0)
    uris = pa.array([f"spotify:track:{i:022}" for i in range(N_TRACKS)])
    features = {name: rng.random(N_TRACKS) for name in FEATURES}
    pq.write_table(pa.table({"trackid": uris} | features), folder / "tracks_headers.parquet")
    with pq.ParquetWriter(folder / "playlists.parquet", next(_parts(uris, 1, rng)).schema) as writer:
        for part in _parts(uris, n_rows // PLAYLIST, rng):
            writer.write_table(part)


def _parts(uris: pa.Array, n_playlists: int, rng: np.random.Generator) -> Iterator[pa.Table]:
    for first in range(0, n_playlists, PLAYLISTS_PER_PART):
        n = min(PLAYLISTS_PER_PART, n_playlists - first)
        starts = rng.integers(0, N_TRACKS, n)
        tracks = ((starts[:, None] + 997 * np.arange(PLAYLIST)) % N_TRACKS).ravel()  # none twice
        names = {name: pa.array(["x"] * len(tracks)) for name in ("artist_name", "track_name", "album_name")}
        yield pa.table(
            {"unique_pid": np.repeat(np.arange(first, first + n), PLAYLIST), "track_uri": uris.take(tracks)} | names
        )


def extract(source: str, storage: str) -> Row:
    """What one process sees; megabytes are the largest so far."""
    found: dict[str, Any] = {"imports MB": peak()}
    warehouse, began = open_warehouse(source), time.perf_counter()
    list(warehouse.query("census", parameters={}))
    batches = warehouse.query("sample", "memberships", parameters=ASKED)
    n_rows = next(batches).num_rows
    found |= {"query s": time.perf_counter() - began}
    began = time.perf_counter()
    n_rows += sum(batch.num_rows for batch in batches)
    seconds = time.perf_counter() - began
    found |= {"rows": n_rows, "stream s": seconds, "rows/s": n_rows / seconds, "streamed MB": peak()}
    began = time.perf_counter()
    with disable_run_logger():
        _extract(storage, warehouse, ("sample", "memberships"), ASKED, MEMBERSHIPS)
    return found | {"extract s": time.perf_counter() - began, "extracted MB": peak()}


def peak() -> float:
    """The largest resident memory of this process, in megabytes; getrusage would count that of its parent too."""
    (line,) = re.findall(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    return int(line) / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--largest", type=int, default=2_000_000, help="rows of the largest size")
    parser.add_argument("--child", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(extract(*arguments.child)))
        return
    results, rows = Results("bigquery"), []
    with tempfile.TemporaryDirectory() as folder, serve_bigquery(Path(folder)) as emulator:
        for n_rows in (arguments.largest // 8, arguments.largest // 4, arguments.largest // 2, arguments.largest):
            write_tables(Path(folder), n_rows)
            source = emulator.load(folder, f"rows_{n_rows}")
            command = [sys.executable, "-m", "tests.benchmarks.bench_bigquery", "--child", source, f"{folder}/storage"]
            done = subprocess.run(
                command, cwd=ROOT, env=os.environ | emulator.environment, stdout=subprocess.PIPE, check=True
            )
            rows.append(json.loads(done.stdout.splitlines()[-1]))
    results.add("Memberships from BigQuery's read API (emulator), memory of the extracting process", rows)
    results.close()


if __name__ == "__main__":
    main()
