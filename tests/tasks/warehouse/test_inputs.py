"""Which files a folder, a pattern or a name stands for."""

from __future__ import annotations

from pathlib import Path

import pytest

from tasks.errors import InputError
from tasks.warehouse.inputs import find_files

ALL = ("slice", "parquet", "csv", "tsv")


def found(given: Path | str, forms: tuple[str, ...] = ALL) -> list[tuple[str, str]]:
    return [(path.name, form) for path, form in find_files("--playlists", str(given), forms=forms)]


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).touch()


def test_slices_of_a_folder_and_nothing_else_in_it(tmp_path: Path) -> None:
    touch(tmp_path, "mpd.slice.1000-1999.json", "mpd.slice.0-999.json", "stats.json", "README.md", "features.csv")
    assert found(tmp_path) == [("mpd.slice.0-999.json", "slice"), ("mpd.slice.1000-1999.json", "slice")]
    assert found(tmp_path, ALL[1:]) == [("features.csv", "csv")]


def test_parts_a_pattern_and_one_file(tmp_path: Path) -> None:
    touch(tmp_path, "b.parquet", "a.parquet", ".c.parquet", "one.tsv", "two.TSV")
    (tmp_path / "d.parquet").mkdir()
    assert found(tmp_path / "*.parquet") == [("a.parquet", "parquet"), ("b.parquet", "parquet")]
    assert found(tmp_path / "two.TSV") == [("two.TSV", "tsv")]


def test_a_name_with_brackets_is_a_file_not_a_pattern(tmp_path: Path) -> None:
    touch(tmp_path, "songs [1].csv")
    assert found(tmp_path / "songs [1].csv") == [("songs [1].csv", "csv")]


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("nowhere", r"nowhere' has no files to load \(seen from /.*\): give mpd.slice.*.json, "),
        ("", "is no local file"),
        ("gs://bucket/x", "is no local file, folder or pattern"),
        (".", "has files of several forms: give a pattern for one, such as 'DIR/"),
        ("notes.txt", "notes.txt' cannot be loaded: give "),
    ],
)
def test_what_cannot_be_loaded(given: str, said: str, tmp_path: Path) -> None:
    touch(tmp_path, "a.csv", "b.parquet", "notes.txt")
    with pytest.raises(InputError, match=said):
        found(tmp_path / given if given and "://" not in given else given)
