"""What a destination is given: finished Parquet parts of each table. Knows nothing of where they are kept."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from typing import BinaryIO, NamedTuple

import pyarrow as pa


class Part(NamedTuple):
    """A Parquet file in the schema of its table. open: its content, from the first byte, seekable."""

    sha256: str
    rows: int
    open: Callable[[], AbstractContextManager[BinaryIO | pa.NativeFile]]


Tables = Mapping[str, Sequence[Part]]
