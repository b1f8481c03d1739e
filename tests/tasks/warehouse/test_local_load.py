"""A folder is replaced as a whole, or stays as it was."""

from __future__ import annotations

import errno
import hashlib
import io
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.errors import InputError
from tasks.warehouse import local_load
from tasks.warehouse.destinations import open_destination
from tasks.warehouse.local_load import LocalDestination
from tasks.warehouse.parts import Part, Tables


def part(*values: str) -> Part:
    stream = io.BytesIO()
    pq.write_table(pa.table({"track_uri": list(values)}), stream)
    content = stream.getvalue()
    return Part(hashlib.sha256(content).hexdigest(), len(values), lambda: io.BytesIO(content))


FIRST: Tables = {"playlists": [part("a"), part("b", "c")], "tracks_headers": [part("d")]}
SECOND: Tables = {"playlists": [part("e")], "tracks_headers": [part("d")]}


def rows(folder: Path, table: str = "playlists") -> list[str]:
    parts = (folder / table).glob("*.parquet")
    return sorted(value for path in parts for value in pq.read_table(path)["track_uri"].to_pylist())


def test_a_new_folder_an_empty_one_and_one_that_was_loaded(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for folder in (tmp_path / "a" / "new", tmp_path / "empty"):
        LocalDestination(str(folder)).replace(FIRST)
        assert rows(folder) == ["a", "b", "c"]
        LocalDestination(str(folder)).replace(SECOND)
        assert (rows(folder), rows(folder, "tracks_headers")) == (["e"], ["d"])
        assert [path.name for path in folder.parent.iterdir() if path.name.startswith(".")] == []


def test_the_same_again_touches_nothing_but_damage(tmp_path: Path) -> None:
    destination = LocalDestination(str(tmp_path / "x"))
    destination.replace(FIRST)
    before = {path: path.stat().st_ino for path in (tmp_path / "x").rglob("*")}
    destination.replace(FIRST)
    assert {path: path.stat().st_ino for path in (tmp_path / "x").rglob("*")} == before
    next((tmp_path / "x" / "playlists").iterdir()).write_bytes(b"damaged")
    destination.replace(FIRST)
    assert rows(tmp_path / "x") == ["a", "b", "c"]


@pytest.mark.parametrize("name", ["notes.txt", "playlists/extra.parquet"])
def test_what_no_loader_put_there_is_not_replaced(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "x"
    LocalDestination(str(folder)).replace(FIRST)
    (folder / name).write_text("mine")
    for destination in (LocalDestination(str(folder)), LocalDestination(str(folder) + "/")):
        with pytest.raises(InputError, match=f"holds files that were not loaded there .such as '{name}'"):
            destination.replace(SECOND)
    assert (folder / name).read_text() == "mine"


def test_a_folder_without_an_index_is_somebody_elses(tmp_path: Path) -> None:
    (tmp_path / "playlists.parquet").touch()
    (tmp_path / "loaded.json").write_text('{"loaded_by": "somebody", "parts": {"playlists.parquet": ""}}')
    with pytest.raises(InputError, match="not loaded there"):
        LocalDestination(str(tmp_path)).check()


def test_a_link_goes_on_pointing_where_it_did(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    LocalDestination(str(tmp_path / "link")).replace(FIRST)
    LocalDestination(str(tmp_path / "link")).replace(SECOND)
    assert (tmp_path / "link").is_symlink()
    assert rows(tmp_path / "real") == ["e"]
    (tmp_path / "real" / "mine").symlink_to(tmp_path)
    with pytest.raises(InputError, match="such as 'mine'"):
        LocalDestination(str(tmp_path / "link")).replace(FIRST)


def test_an_error_while_copying_leaves_what_was_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    destination = LocalDestination(str(tmp_path / "x"))
    destination.replace(FIRST)

    def full(path: Path, content: bytes) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(local_load, "_write", full)
    with pytest.raises(InputError, match=r"cannot be written \(No space left on device\): what was there is as before"):
        destination.replace(SECOND)
    assert rows(tmp_path / "x") == ["a", "b", "c"]
    damaged = part("e")._replace(sha256="0" * 64)
    with pytest.raises(InputError, match="was damaged after it was made"):
        destination.replace({"playlists": [damaged]})
    assert [path.name for path in tmp_path.iterdir()] == ["x"]


def test_a_failing_swap_is_undone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    destination, rename = LocalDestination(str(tmp_path / "x")), Path.rename
    destination.replace(FIRST)

    def fail(path: Path, target: Path) -> Path:
        if path.name.endswith(".part"):
            raise OSError(errno.EIO, "Input/output error")
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(InputError, match="Input/output error"):
        destination.replace(SECOND)
    assert rows(tmp_path / "x") == ["a", "b", "c"]


def test_what_a_killed_loader_left_is_tidied_up(tmp_path: Path) -> None:
    destination = LocalDestination(str(tmp_path / "x"))
    destination.replace(FIRST)
    (tmp_path / f".x.{'0' * 16}.part").mkdir()
    (tmp_path / ".xy.00.part").mkdir()  # another destination's
    (tmp_path / "x").rename(tmp_path / f".x.{'0' * 16}.old")  # killed between the two renames
    with pytest.raises(InputError, match="damaged"):
        destination.replace({"playlists": [part("e")._replace(sha256="0" * 64)]})
    assert rows(tmp_path / "x") == ["a", "b", "c"]
    assert {path.name for path in tmp_path.iterdir()} == {"x", ".xy.00.part"}


def test_what_was_left_of_a_name_that_begins_the_same_is_not_touched(tmp_path: Path) -> None:
    other, own = (LocalDestination(str(tmp_path / name)) for name in ("a.b", "a"))
    other.replace(FIRST)
    own.replace(SECOND)
    (tmp_path / "a.b").rename(tmp_path / f".a.b.{'0' * 16}.old")  # killed between the two renames
    own.replace(FIRST)
    with pytest.raises(InputError, match="damaged"):
        other.replace({"playlists": [part("e")._replace(sha256="0" * 64)]})
    assert rows(tmp_path / "a.b") == rows(tmp_path / "a") == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("", "destination is empty"),
        ("gs://bucket/x", "unknown scheme: give a local folder or bigquery://project/dataset"),
        ("/proc/nobody/here", "cannot be written: '/proc' takes no new folder"),
        ("{file}", "is a file: give a folder"),
        ("{file}/below", "file' takes no new folder"),
        ("/", "holds files that were not loaded there|cannot be written"),
        ("{index}", "holds files that were not loaded there .such as 'loaded.json/x'"),
    ],
)
def test_a_destination_that_cannot_be(uri: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "index" / "loaded.json").mkdir(parents=True)
    (tmp_path / "index" / "loaded.json" / "x").touch()
    with pytest.raises(InputError, match=said):
        open_destination(uri.format(file=tmp_path / "file", index=tmp_path / "index")).check()
