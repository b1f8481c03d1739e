"""Whether the ids of two loaded tables meet. Knows nothing of Prefect."""

from __future__ import annotations

import tempfile

import duckdb
import pyarrow as pa

from tasks.errors import InputError
from tasks.warehouse.local import connect, describe

COUNT = """
SELECT COUNT(*), COUNT(headers.trackid)
FROM memberships
LEFT JOIN (SELECT DISTINCT trackid FROM tracks) AS headers ON headers.trackid = memberships.track_uri
"""


def count_matches(memberships: pa.RecordBatchReader, tracks: pa.RecordBatchReader) -> tuple[int, int]:
    """How many memberships there are (column track_uri), and of how many the track is among `tracks` (trackid).

    Raises InputError if they cannot be read, or there is no room to compare them.
    """
    with tempfile.TemporaryDirectory() as scratch, connect(scratch) as connection:
        connection.register("memberships", memberships)
        connection.register("tracks", tracks)
        try:
            (found,) = connection.execute(COUNT).fetchall()
        except duckdb.Error as error:
            raise InputError(describe(error, "a loaded table")) from error
    return found
