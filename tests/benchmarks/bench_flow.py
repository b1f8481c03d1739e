"""What orchestration costs: the flow cold, the flow with everything reused, and the same work as plain functions.

    python -m tests.benchmarks.bench_flow

Bundled playlists, default recipe, a Prefect server of its own on SQLite; batches of the default size and small ones,
whose many task runs show what one more of them costs. Every run is a process of its own, cold and plain ones on an
empty storage; ways take turns and the fastest of each counts. `seconds` is the work itself (the manifest's figure, or
from the first function to the last); `process s` is what a person waits for, from start to exit: Python, imports, and
for the flow its artifacts and the end of its history too. Cold and plain runs must leave the same data files.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.benchmarks.measure import Results, Row
from tests.conftest import ROOT, data_files, free_port
from tests.integration.processes import finish, start

REPEATS = 3
BATCH_SIZES = (0, 8)  # playlists; 0 is the default, 64 here
COLD, REUSED, PLAIN = "flow, cold", "flow, all reused", "plain functions"


@contextmanager
def server(home: Path) -> Iterator[dict[str, str]]:
    """A Prefect server with its database in `home`; yields the environment that finds it."""
    port = str(free_port())
    quiet = {"PREFECT_HOME": str(home), "PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
    inherited = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    command = [sys.executable, "-m", "tasks.server"]
    subprocess.run([*command, "start", port], cwd=ROOT, env=inherited | quiet, stdout=subprocess.DEVNULL, check=True)
    try:
        yield quiet | {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api"}
    finally:
        subprocess.run([*command, "stop"], cwd=ROOT, env=inherited | quiet, stdout=subprocess.DEVNULL, check=True)


def run_flow(storage: Path, environment: dict[str, str], batch_size: int) -> Row:
    began = time.perf_counter()
    manifest = finish(start(storage, environment, "--training.batch-size", str(batch_size)))
    counts = {name: sum(task[name] for task in manifest["tasks"].values()) for name in ("computed", "reused")}
    return {"seconds": manifest["seconds"], "process s": time.perf_counter() - began} | counts


def run_plain(storage: Path, batch_size: int) -> Row:
    command = [sys.executable, "-m", "tests.benchmarks.plain_flow", str(storage), str(batch_size)]
    began = time.perf_counter()
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
    found = json.loads(done.stdout.splitlines()[-1])
    seconds = {"seconds": found["seconds"], "process s": time.perf_counter() - began}
    return seconds | {"computed": found["calls"], "reused": 0}


def measure(folder: Path, environment: dict[str, str], batch_size: int) -> list[Row]:
    """Every run, the ways in turns."""
    rows = []
    for i in range(REPEATS):
        flow, plain = (folder / f"{name}-{batch_size}-{i}" for name in ("flow", "plain"))
        runs = {PLAIN: run_plain(plain, batch_size), COLD: run_flow(flow, environment, batch_size)}
        runs[REUSED] = run_flow(flow, environment, batch_size)
        assert data_files(flow) == data_files(plain), "the flow and the plain functions did not do the same work"
        rows += [{"batch size": batch_size, "way": way} | run for way, run in runs.items()]
    return rows


def fastest(rows: list[Row]) -> list[Row]:
    """One row per batch size and way, the least of each clock."""
    best: dict[tuple[int, str], Row] = {}
    for row in rows:
        kept = best.setdefault((row["batch size"], row["way"]), dict(row))
        kept |= {clock: min(kept[clock], row[clock]) for clock in ("seconds", "process s")}
    return list(best.values())


def costs(best: list[Row]) -> list[Row]:
    """Seconds of orchestration: what a cold flow takes beyond the plain functions, and all that a reused one takes.

    `ms each further` compares the small batches with the default: fixed costs (checks, manifest, report) drop out.
    """
    by_key = {(row["way"], row["batch size"]): row for row in best}
    rows: list[Row] = []
    for way in (COLD, REUSED):
        for size in BATCH_SIZES:
            beyond = by_key[PLAIN, size]["seconds"] if way == COLD else 0.0
            row = {"way": way, "batch size": size, "task runs": by_key[COLD, size]["computed"]}
            row["orchestration s"] = by_key[way, size]["seconds"] - beyond
            rows.append(row | {"ms a task run": 1e3 * row["orchestration s"] / row["task runs"]})
        few, many = rows[-2:]
        n_more = many["task runs"] - few["task runs"]
        further = 1e3 * (many["orchestration s"] - few["orchestration s"]) / n_more
        few["ms each further"], many["ms each further"] = "", further
    return rows


def main() -> None:
    results = Results("flow")
    with tempfile.TemporaryDirectory() as folder, server(Path(folder, "prefect")) as environment:
        runs = [row for size in BATCH_SIZES for row in measure(Path(folder), environment, size)]
    best = fastest(runs)
    results.add("Every run", runs)
    results.add(f"Bundled playlists, default recipe, best of {REPEATS}", best)
    results.add("What orchestration costs, of the best runs", costs(best))
    results.close()


if __name__ == "__main__":
    main()
