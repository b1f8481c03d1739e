"""Files are published whole or not at all, and verified before use."""

from __future__ import annotations

import base64
import hashlib
import itertools
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import google_crc32c
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tasks.errors import InputError
from tasks.files import ConflictError, DamagedFileError
from tasks.storage import Storage, rechunk

TABLE = pa.table({"a": list(range(1000)), "b": [f"text {i}" for i in range(1000)]})


def test_a_file_is_named_by_its_content(tmp_path: Path) -> None:
    file = Storage(str(tmp_path)).write_table("models", TABLE)
    content = (tmp_path / file.path).read_bytes()
    assert file.path == f"data/models/{hashlib.sha256(content).hexdigest()}.parquet"
    assert file.crc32c == base64.b64encode(google_crc32c.Checksum(content).digest()).decode()
    assert (file.size, file.rows) == (len(content), 1000)
    assert Storage(str(tmp_path)).read_table(file) == TABLE


def test_the_same_content_is_written_once(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    first = store.write_table("models", TABLE)
    before = (tmp_path / first.path).stat()
    assert store.write_table("models", TABLE) == first
    after = (tmp_path / first.path).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_writing_heals_a_damaged_file_of_that_name(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    file = store.write_table("models", TABLE)
    (tmp_path / file.path).write_bytes(b"other")
    with pytest.raises(DamagedFileError, match="instead of"):
        store.verify(file)
    store.write_table("models", TABLE)
    store.verify(file)


def test_every_flipped_bit_is_noticed(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    file = store.write_table("models", TABLE)
    path = tmp_path / file.path
    content = path.read_bytes()
    for position in range(0, len(content), max(1, len(content) // 50)):
        damaged = bytearray(content)
        damaged[position] ^= 4
        path.write_bytes(damaged)
        with pytest.raises(DamagedFileError):
            store.verify(file)
    path.write_bytes(content)
    store.verify(file)


def test_a_page_that_rots_after_the_check_raises_on_reading(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    file = store.write_table("models", TABLE)
    path = tmp_path / file.path
    content = bytearray(path.read_bytes())
    content[200] ^= 1
    path.write_bytes(content)
    with pytest.raises(OSError, match=r"(?i)crc|checksum"):
        store.read_table(file)


def test_a_folder_in_the_place_of_a_file_is_damage_and_heals(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    file = store.write_table("models", TABLE)
    (tmp_path / file.path).unlink()
    (tmp_path / file.path / "below").mkdir(parents=True)
    with pytest.raises(DamagedFileError, match="is a folder"):
        store.verify(file)
    store.write_table("models", TABLE)
    store.verify(file)


def test_replacing_needs_the_version_that_was_read(tmp_path: Path) -> None:
    files = Storage(str(tmp_path / "new")).files
    assert files.read_version("champion.json") == (None, "")
    files.replace("champion.json", b"first", "")
    _, version = files.read_version("champion.json")
    with pytest.raises(ConflictError):
        files.replace("champion.json", b"late", "")
    files.replace("champion.json", b"second", version)
    with pytest.raises(ConflictError):
        files.replace("champion.json", b"late", version)
    assert files.read("champion.json") == b"second"


def test_a_listing_shows_every_file_below_a_folder(tmp_path: Path) -> None:
    files = Storage(str(tmp_path)).files
    files.write("runs/a/manifest.json", b"12")
    files.write("runs/b.json", b"345")
    assert {(file.path, file.size) for file in files.list("runs")} == {("runs/a/manifest.json", 2), ("runs/b.json", 3)}
    assert list(files.list("data")) == []
    files.delete("runs/b.json")
    files.delete("runs/b.json")
    assert not files.exists("runs/b.json")
    assert files.exists("runs/a/manifest.json")


def test_an_error_while_writing_leaves_nothing(tmp_path: Path) -> None:
    def tables() -> Iterator[pa.Table]:
        yield TABLE
        raise RuntimeError("the query broke off")

    with pytest.raises(RuntimeError, match="broke off"):
        Storage(str(tmp_path)).write_row_groups("models", TABLE.schema, tables())
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_an_error_while_publishing_leaves_the_old_content(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = Storage(str(tmp_path))
    store.files.write("runs/a", b"old")

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space left"):
        store.files.write("runs/a", b"new")
    assert store.files.read("runs/a") == b"old"
    assert [path.name for path in (tmp_path / "runs").iterdir()] == ["a"]


@pytest.mark.parametrize("path", ["../outside", "/etc/passwd", "data/../../outside"])
def test_a_path_does_not_leave_the_storage(path: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a path inside"):
        Storage(str(tmp_path)).files.write(path, b"")


def test_probing_says_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="is a file: give a folder"):
        Storage(str(tmp_path / "file")).files.probe()
    with pytest.raises(InputError, match=r"cannot be written \(Not a directory\)"):
        Storage(str(tmp_path / "file" / "below")).files.probe()
    with pytest.raises(InputError, match="cannot be written"):
        Storage("/proc/nobody/can/write/here").files.probe()
    with pytest.raises(InputError, match="unknown scheme"):
        Storage("s3://bucket")
    Storage(str(tmp_path / "new")).files.probe()
    assert [path for path in (tmp_path / "new").rglob("*") if path.is_file()] == []
    (tmp_path / "half" / "runs").parent.mkdir()
    (tmp_path / "half" / "runs").write_text("")
    with pytest.raises(InputError, match="cannot be written"):
        Storage(str(tmp_path / "half")).files.probe()
    with pytest.raises(InputError, match="storage is empty"):
        Storage("")


@given(cuts=st.lists(st.integers(0, 999), max_size=12), rows=st.integers(1, 300))
def test_row_groups_do_not_depend_on_how_the_rows_came(cuts: list[int], rows: int) -> None:
    edges = [0, *sorted(cuts), 1000]
    tables = [TABLE.slice(a, b - a) for a, b in itertools.pairwise(edges)]
    chunks = list(rechunk(tables, TABLE.schema, rows))
    assert [chunk.num_rows for chunk in chunks[:-1]] == [rows] * (len(chunks) - 1)
    assert pa.concat_tables(chunks) == TABLE


def test_only_the_wanted_rows_are_read(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    file = store.write_row_groups("models", TABLE.schema, [TABLE.slice(0, 500), TABLE.slice(500)])
    assert store.read_rows(file, "b", ["text 3", "text 700", "text of nobody"])["a"].to_pylist() == [3, 700]


VALUES = st.one_of(st.none(), st.text(), st.sampled_from(["", "a/b", "NaN", "\x00", "🎧"]))
NUMBERS = st.one_of(st.none(), st.floats(allow_nan=False), st.sampled_from([float("inf"), -0.0, 5e-324]))


@given(rows=st.lists(st.tuples(VALUES, NUMBERS, st.lists(st.floats(allow_nan=False), max_size=3)), max_size=30))
def test_what_is_written_is_read_and_has_one_name(rows: list[tuple[str, float, list[float]]]) -> None:
    schema = pa.schema([("text", pa.string()), ("number", pa.float64()), ("list", pa.list_(pa.float64()))])
    table = pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema=schema)
    with tempfile.TemporaryDirectory() as folder:
        store = Storage(folder)
        file = store.write_table("models", table)
        store.verify(file)
        assert store.read_table(file).equals(table)
        assert store.write_table("models", pa.concat_tables([table.slice(0, 2), table.slice(2)])) == file
        assert len(list(Path(folder, "data", "models").iterdir())) == 1
