"""The statements of all engines, in BigQuery's dialect. They count as code of whatever imports this package."""

from __future__ import annotations

from pathlib import Path


def read_statement(*names: str) -> str:
    """The files `<name>.sql`, one after the other, as one statement."""
    return "".join(Path(__file__).with_name(f"{name}.sql").read_text(encoding="utf-8") for name in names)
