"""Kill the command at random moments and compare what the next run leaves with an uninterrupted one.

    python -m tests.integration.chaos [number of kills] [seed]

Uses the Prefect server that PREFECT_API_URL names. Exit code 1 if one file name differs.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import track
from rich.table import Table

from tests.conftest import ALWAYS_COMPUTED, data_files
from tests.integration.processes import finish, start

OPTIONS = ("--training.batch-size", "16")


def count(manifest: dict[str, Any], outcome: str) -> int:
    return sum(task[outcome] for stage, task in manifest["tasks"].items() if stage not in ALWAYS_COMPUTED)


def kill_and_resume(storage: Path, environment: dict[str, str], seconds: float) -> dict[str, Any]:
    """SIGKILL a run after so many seconds, then let another one finish; returns the second one's manifest."""
    process = start(storage, environment, *OPTIONS)
    time.sleep(seconds)
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate(timeout=60)
    return finish(start(storage, environment, *OPTIONS))


def main(n_kills: int = 20, seed: int = 0) -> int:
    environment = {"PREFECT_API_URL": os.environ["PREFECT_API_URL"]}
    moments, table = random.Random(seed), Table("kill", "after s", "reused", "computed", "run s", "same files")
    console, started, n_same = Console(), time.monotonic(), 0
    with tempfile.TemporaryDirectory() as folder:
        finish(start(Path(folder, "uninterrupted"), environment, *OPTIONS))
        whole, expected = time.monotonic() - started, data_files(Path(folder, "uninterrupted"))
        for kill in track(range(1, n_kills + 1), "killing", console=Console(stderr=True)):
            storage, seconds = Path(folder, str(kill)), moments.uniform(0, whole)
            manifest = kill_and_resume(storage, environment, seconds)
            is_same = data_files(storage) == expected
            n_same += is_same
            outcomes = [str(count(manifest, outcome)) for outcome in ("reused", "computed")]
            table.add_row(
                str(kill), f"{seconds:.1f}", *outcomes, f"{manifest['seconds']:.1f}", "yes" if is_same else "NO"
            )
    console.print(table)
    console.print(
        f"{n_same} of {n_kills} resumed runs left the same {len(expected)} files as an uninterrupted one "
        f"({whole:.1f} s); {time.monotonic() - started:.0f} s in all."
    )
    return 0 if n_same == n_kills else 1


if __name__ == "__main__":
    sys.exit(main(*map(int, sys.argv[1:])))
