"""Batches of whole playlists, whatever the chunks; counts per track and fold."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.batches import playlist_starts
from tasks.prepare import batches_of_playlists


def table(sizes: list[int]) -> pa.Table:
    ids = [f"p{i:03}" for i, size in enumerate(sizes) for _ in range(size)]
    return pa.table({"playlist_id": ids, "track": list(range(len(ids)))}, schema=SCHEMA)


SCHEMA = pa.schema([("playlist_id", pa.string()), ("track", pa.int32())])


@given(
    sizes=st.lists(st.integers(1, 5), max_size=20),
    size=st.integers(1, 7),
    chunk=st.integers(1, 30),
)
def test_batches_hold_whole_playlists_however_the_stream_is_cut(sizes: list[int], size: int, chunk: int) -> None:
    rows = table(sizes)
    chunks = [rows.slice(start, chunk) for start in range(0, rows.num_rows, chunk)]
    batches = list(batches_of_playlists(chunks, size))
    expected = [sum(sizes[i : i + size]) for i in range(0, len(sizes), size)]
    assert [batch.num_rows for batch in batches] == expected
    assert [len(playlist_starts(batch)) for batch in batches[:-1]] == [size] * (len(batches) - 1)
    if batches:
        assert pa.concat_tables(batches) == rows


def test_no_rows_give_no_batch() -> None:
    assert list(batches_of_playlists([], 3)) == []
    assert list(batches_of_playlists([table([])], 3)) == []


@pytest.mark.parametrize(("sizes", "starts"), [([2, 1, 3], [0, 2, 3]), ([1], [0]), ([], [])])
def test_starts(sizes: list[int], starts: list[int]) -> None:
    assert np.array_equal(playlist_starts(table(sizes)), starts)
