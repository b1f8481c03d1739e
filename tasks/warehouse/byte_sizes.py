"""Amounts of data as people write them. Pure."""

from __future__ import annotations

import re
from decimal import Decimal

UNITS = {"": 1} | {
    letter + infix: base**power
    for infix, base in (("", 1000), ("i", 1024))
    for power, letter in enumerate("KMGTP", start=1)
}
LARGEST = 2**63 - 1  # an INT64
SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?)\s*([KMGTP]i?)?B?", re.IGNORECASE)


def parse_bytes(text: str) -> int:
    """The number of bytes that "100 GB", "2TB", "1.5 TiB" or "5000" says: KB is 1,000 bytes, KiB 1,024.

    Raises ValueError if it says none, less than one byte, or more than BigQuery takes.
    """
    found = SIZE.fullmatch(text.strip())
    if found is None:
        raise ValueError('must be an amount of data such as "100 GB", "2 TB" or a number of bytes')
    number, unit = found.groups(default="")
    size = int(Decimal(number) * UNITS[unit[:1].upper() + unit[1:].lower()])
    if not 1 <= size <= LARGEST:
        raise ValueError("must be at least one byte, and at most 9,223 PB")
    return size


def format_bytes(size: int) -> str:
    """A number of bytes in the largest decimal unit that leaves at least one of it, such as "1.5 GB"."""
    for unit in ("PB", "TB", "GB", "MB", "KB"):
        scale = UNITS[unit[0]]
        if size >= scale:
            return f"{size / scale:,.1f} {unit}"
    return f"{size:,} bytes"
