"""What all benchmarks share: times, and tables that are printed and kept as JSON."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from tasks.fingerprint import library_versions
from tasks.manifest import blas_kernels, prefect_version

WIDTH = 120  # of tables that do not go to a terminal

Row = dict[str, Any]


def best_of(n: int, run: Callable[[], Any]) -> tuple[float, Any]:
    """(seconds of the fastest of n runs, result of the last)."""
    seconds, result = np.inf, None
    for _ in range(n):
        start = time.perf_counter()
        result = run()
        seconds = min(seconds, time.perf_counter() - start)
    return seconds, result


def best_of_each(n: int, ways: dict[str, Callable[[], Any]]) -> dict[str, float]:
    """Seconds of the fastest of n runs of each way, taken in turns: a busy moment of the machine meets all of them."""
    seconds = dict.fromkeys(ways, np.inf)
    for _ in range(n):
        for name, run in ways.items():
            seconds[name] = min(seconds[name], best_of(1, run)[0])
    return seconds


def machine() -> dict[str, Any]:
    """What times depend on. load: the average of the last minute, other people's work included."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "processor": _processor(),
        "processors": os.cpu_count(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "load": round(os.getloadavg()[0], 2),
        "blas": blas_kernels(),
        "versions": library_versions() | prefect_version(),
    }


def _processor() -> str:
    """The model, where the system tells it."""
    path = Path("/proc/cpuinfo")
    lines = path.read_text().splitlines() if path.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()} ({platform.machine()})"


class Results:
    """The tables of one benchmark. Each is printed and added to <folder>/<name>.json as soon as it is measured.

    The folder is BENCH_DIR's, by default .benchmarks.
    """

    def __init__(self, name: str) -> None:
        self._path = Path(os.environ.get("BENCH_DIR") or ".benchmarks", f"{name}.json")
        self._found: dict[str, Any] = {"benchmark": name, "machine": machine(), "tables": []}
        self._console = Console(highlight=False, width=None if sys.stdout.isatty() else WIDTH)
        self._console.rule(name)
        for label, value in self._found["machine"].items():
            self._console.print(f"{label}: {_words(value)}", markup=False)

    def add(self, title: str, rows: list[Row]) -> None:
        """Print and keep a table whose rows have the same keys."""
        load = round(os.getloadavg()[0], 2)
        table = Table(title=title, title_justify="left", caption=f"load average {load}", caption_justify="left")
        for name, value in rows[0].items():
            table.add_column(name, justify="left" if isinstance(value, str) else "right")
        for row in rows:
            table.add_row(*(_cell(value) for value in row.values()))
        self._console.print(table)
        self._found["tables"].append({"title": title, "load": load, "rows": rows})
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._path.write_text(json.dumps(self._found, indent=1, default=float))

    def close(self) -> None:
        """Say where the tables are."""
        self._console.print(f"written to {self._path}", markup=False)


def _cell(value: Any) -> str:
    if isinstance(value, float | np.floating):
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int | np.integer) else str(value)


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return ", ".join(value) if isinstance(value, list) else str(value)
