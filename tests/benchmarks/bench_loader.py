"""What loading costs in one process: slices of the Million Playlist Dataset, CSV and Parquet.

    python -m tests.benchmarks.bench_loader [--rows 4000000]

Made-up slices of the dataset's size and layout (1,000 playlists of 66 tracks, indented: 34 MB). A slice as the task
loads it is read, hashed, parsed, cleaned, and written as a verified Parquet part. Tables are loaded in a process of
their own at two sizes: memory must not grow with the rows.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import psutil
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv
import pyarrow.parquet as pq

from tasks.load import load_playlists
from tasks.load_references import InputFile, LoadedPart
from tasks.warehouse.inputs import SUFFIXES, hash_file
from tasks.warehouse.slices import read_slice
from tests.benchmarks.measure import Results, Row
from tests.slices import document, write_slice

REPEATS = 5
TRACK = "STRUCT(track_uri VARCHAR, artist_name VARCHAR, track_name VARCHAR, album_name VARCHAR)"
DUCKDB = f"""
SELECT playlist.pid, track.* FROM (
    SELECT playlist, unnest(playlist.tracks) AS track FROM (
        SELECT unnest(playlists) AS playlist
        FROM read_json(
            $path, maximum_object_size = 536870912, columns = {{playlists: 'STRUCT(pid BIGINT, tracks {TRACK}[])[]'}}
        )
    )
)
"""


def load(path: Path, storage: str) -> LoadedPart:
    """The task's own function: what Prefect would run."""
    form = SUFFIXES[path.suffix]
    file = InputFile.model_validate(
        {"path": str(path), "form": form, "size": path.stat().st_size, "sha256": hash_file(path)}
    )
    part: LoadedPart = load_playlists.fn.__wrapped__(storage=storage, file=file, form=form, columns={}, number=0)
    return part


def slices(folder: Path) -> list[Row]:
    path = write_slice(folder, document(0, 1000, 20_000))
    content, storage = path.read_bytes(), str(folder / "storage")
    n = load(path, storage).n_rows
    ways = {
        "the task, to a verified part": lambda: load(path, storage),
        "read_slice, in memory": lambda: read_slice(content),
        "json.loads alone": lambda: json.loads(content),
        "DuckDB read_json, one thread": lambda: query_json(path),
    }
    rows = []
    for way, run in ways.items():
        wall, cpu = (min(times) for times in zip(*(clocks(run) for _ in range(REPEATS)), strict=True))
        row = {"way": way, "MB": len(content) / 1e6, "memberships": n, "seconds": wall, "CPU seconds": cpu}
        rows.append(row | {"memberships a second": n / wall, "a CPU second": n / cpu})
    return rows


def clocks(run: Callable[[], Any]) -> tuple[float, float]:
    """Seconds on the wall and on the processor: the second is what other people's work leaves alone."""
    wall, cpu = time.perf_counter(), time.process_time()
    run()
    return time.perf_counter() - wall, time.process_time() - cpu


def query_json(path: Path) -> pa.Table:
    with duckdb.connect(config={"threads": 1}) as connection:
        return connection.execute(DUCKDB, {"path": str(path)}).to_arrow_table()


def write_table(path: Path, n_rows: int) -> None:
    """Memberships with names, 100 a playlist, as one CSV file or one Parquet row group."""
    number = pa.array(range(n_rows))
    text = pc.cast(pc.bit_wise_and(number, 0xFFFFF), pa.string())
    names = {
        name: pc.binary_join_element_wise(f"{name} ", text, "") for name in ("artist_name", "track_name", "album_name")
    }
    uris = pc.binary_join_element_wise("spotify:track:", text, "")
    table = pa.table({"unique_pid": pc.divide(number, 100), "track_uri": uris} | names)
    if path.suffix == ".csv":
        pa.csv.write_csv(table, path)
    else:
        pq.write_table(table, path, row_group_size=n_rows)


def in_process(path: Path) -> None:
    """Load one file and print rows, seconds, and the peak of resident memory beyond that at the start, in MB."""
    before = psutil.Process().memory_info().rss / 2**20
    with tempfile.TemporaryDirectory() as storage:
        began = time.perf_counter()
        n_rows = load(path, storage).n_rows
        seconds = time.perf_counter() - began
    print(json.dumps([n_rows, seconds, peak_mb() - before]))


def peak_mb() -> float:
    """The most memory that this process has had resident since it started its program, as Linux counts it."""
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return int(line.split()[1]) / 2**10


def tables(folder: Path, n_rows: int) -> list[Row]:
    rows = []
    for form in ("csv", "parquet"):
        for n in (n_rows // 4, n_rows):
            path = folder / f"{n}.{form}"
            subprocess.run([sys.executable, "-m", __spec__.name, "--write", str(path), "--rows", str(n)], check=True)
            command = [sys.executable, "-m", __spec__.name, "--load", str(path)]
            found = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
            n_read, seconds, grown = json.loads(found)
            size = path.stat().st_size / 1e6
            path.unlink()
            rows.append({"form": form, "rows": n_read, "MB": size, "rows a second": n_read / seconds, "peak MB": grown})
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=4_000_000)
    parser.add_argument("--write", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--load", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.write:
        return write_table(arguments.write, arguments.rows)
    if arguments.load:
        return in_process(arguments.load)
    results = Results("loader")
    with tempfile.TemporaryDirectory() as folder:
        results.add(f"One slice, one process, best of {REPEATS}", slices(Path(folder)))
        results.add(
            "One file of memberships: speed, and peak memory beyond the start of the process",
            tables(Path(folder), arguments.rows),
        )
    results.close()


if __name__ == "__main__":
    main()
