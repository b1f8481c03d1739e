"""What no file system takes is one sentence, whoever is given it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import InputError
from tasks.local_files import LocalFiles
from tasks.warehouse.inputs import find_files
from tasks.warehouse.local import LocalWarehouse
from tasks.warehouse.local_load import LocalDestination
from tasks.warehouse.local_paths import expand


def find(given: str) -> Any:
    return find_files("--tracks", given, forms=("csv",))


@pytest.mark.parametrize("use", [LocalFiles, LocalWarehouse, LocalDestination, find])
@pytest.mark.parametrize(
    ("given", "said"),
    [
        ("~nosuchuser/x", r"cannot be a path \(Could not determine home directory\): give another one\."),
        ("x" * 300, r"cannot be a path \(File name too long\)"),
        ("loop/x", r"cannot be a path \(Too many levels of symbolic links\)"),
        ("a\0b", r"cannot be a path \(embedded null byte\)"),
        ("a\udcff", r"the name 'a.udcff' is not UTF-8: rename it\."),
    ],
)
def test_what_cannot_be_a_path(
    given: str, said: str, use: Callable[[str], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    with pytest.raises(InputError, match=said):
        use(given)


def test_what_is_not_there_yet_is_a_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "file").touch()
    assert expand("storage", "~/new/folder") == tmp_path / "new" / "folder"
    assert expand("storage", "~/file/below") == tmp_path / "file" / "below"


def test_a_file_whose_name_is_not_utf8_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.csv")).write_text("trackid")
    with pytest.raises(InputError, match=r"^--tracks: the name '.*/a.udcff\.csv' is not UTF-8: rename it\.$"):
        find(str(tmp_path))
