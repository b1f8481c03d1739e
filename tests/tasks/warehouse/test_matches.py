"""Whether the ids of two tables meet."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa
import pytest

from tasks.errors import InputError
from tasks.warehouse.matches import count_matches


def reader(column: str, *values: str, is_broken: bool = False) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        yield pa.record_batch({column: list(values)})
        if is_broken:
            raise OSError("the disk is gone")

    return pa.RecordBatchReader.from_batches(pa.schema([(column, pa.string())]), batches())


def test_memberships_count_as_often_as_they_are_there_and_tracks_once() -> None:
    assert count_matches(reader("track_uri", "a", "a", "b", "c"), reader("trackid", "a", "b", "b", "x")) == (4, 3)


def test_what_cannot_be_read_is_one_sentence() -> None:
    with pytest.raises(InputError, match=r"^a loaded table cannot be read \(.*\): check the Parquet files\.$"):
        count_matches(reader("track_uri", "a"), reader("trackid", "a", is_broken=True))
