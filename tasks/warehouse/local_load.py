"""A local folder of Parquet parts as the destination of a load: built beside, then renamed into place."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from tasks.errors import InputError
from tasks.warehouse.inputs import hash_file
from tasks.warehouse.local_paths import expand
from tasks.warehouse.parts import Part, Tables

INDEX = "loaded.json"
BLOCK_BYTES = 1 << 20
RANDOM_BYTES = 8


class LoadedIndex(BaseModel):
    """What a loader left in a folder: nobody else's files are replaced. parts: sha256 by path."""

    model_config = ConfigDict(extra="forbid")
    loaded_by: Literal["playlist-models"] = "playlist-models"
    parts: dict[str, str]


class LocalDestination:
    """The tables as folders `<table>/part-<sha256>.parquet`, beside an index of them; see parts.py."""

    def __init__(self, folder: str) -> None:
        if not folder:
            raise InputError("destination is empty: give a folder or bigquery://project/dataset.")
        self._name = folder
        self._folder = expand("destination", folder).resolve()  # a link keeps pointing where it does

    def check(self) -> None:
        """Raise InputError unless the folder is absent, empty, or holds exactly what a loader put there."""
        with self._in_words():
            self._check()

    def _check(self) -> None:
        above = next((folder for folder in self._folder.parents if folder.exists()), self._folder)
        try:
            Path(tempfile.mkdtemp(prefix=".", dir=above)).rmdir()
        except OSError as error:
            raise InputError(
                f"destination {self._name!r} cannot be written: {str(above)!r} takes no new folder "
                f"({error.strerror or error}); give another one, or correct the permissions."
            ) from error
        if not self._folder.exists():
            return
        if not self._folder.is_dir():
            raise InputError(f"destination {self._name!r} is a file: give a folder.")
        if foreign := next(self._foreign_files(), None):
            raise InputError(
                f"destination {self._name!r} holds files that were not loaded there (such as {foreign!r}): give "
                "another folder, or move them away."
            )

    def _foreign_files(self) -> Iterator[str]:
        index = self._read_index()
        own = {INDEX, *index.parts} if index else set()
        for path in self._folder.rglob("*"):
            name = path.relative_to(self._folder).as_posix()
            if name not in own and (path.is_symlink() or not path.is_dir()):
                yield name

    def replace(self, tables: Tables) -> None:
        """Copy all parts into a new folder beside the destination, and swap the two."""
        parts = {f"{table}/part-{part.sha256}.parquet": part for table, found in tables.items() for part in found}
        index = LoadedIndex(parts={path: part.sha256 for path, part in sorted(parts.items())})
        with self._in_words():
            self._folder.parent.mkdir(parents=True, exist_ok=True)
            with self._alone():
                self._check()
                if not self._holds(index):
                    self._swap(index, parts)

    @contextmanager
    def _in_words(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"destination {self._name!r} cannot be written ({error.strerror or error}): what was there is as "
                "before; free some space or correct the permissions, then start again."
            ) from error

    def _read_index(self) -> LoadedIndex | None:
        try:
            return LoadedIndex.model_validate_json((self._folder / INDEX).read_bytes())
        except (FileNotFoundError, IsADirectoryError, ValidationError):
            return None

    def _holds(self, index: LoadedIndex) -> bool:
        """Whether the folder has these very parts already, undamaged."""
        if self._read_index() != index:
            return False
        paths = [self._folder / path for path in index.parts]
        return all(path.is_file() and hash_file(path) == path.stem.removeprefix("part-") for path in paths)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Keep other loaders of this machine out, and tidy up after one that was killed.

        The lock is on the parent folder; the system drops it when a process dies.
        """
        descriptor = os.open(self._folder.parent, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            for old in self._beside("old"):
                if self._folder.exists():
                    shutil.rmtree(old)
                else:  # killed between the two renames
                    old.rename(self._folder)
            for unfinished in self._beside("part"):
                shutil.rmtree(unfinished)
            yield
        finally:
            os.close(descriptor)

    def _beside(self, kind: str) -> list[Path]:
        """What _swap left, and not what it left of a destination whose name begins like this one's."""
        name = re.compile(rf"\.{re.escape(self._folder.name)}\.[0-9a-f]{{{2 * RANDOM_BYTES}}}\.{kind}")
        return [path for path in self._folder.parent.iterdir() if name.fullmatch(path.name)]

    def _swap(self, index: LoadedIndex, parts: dict[str, Part]) -> None:
        name = f".{self._folder.name}.{secrets.token_hex(RANDOM_BYTES)}"
        new, old = (self._folder.with_name(f"{name}.{kind}") for kind in ("part", "old"))
        try:
            for path, part in parts.items():
                (new / path).parent.mkdir(parents=True, exist_ok=True)
                _copy(part, new / path)
            _write(new / INDEX, index.model_dump_json(indent=1).encode())
            if self._folder.exists():
                self._folder.rename(old)
            new.rename(self._folder)
            _flush(self._folder.parent)
        finally:
            if old.exists() and not self._folder.exists():
                old.rename(self._folder)
            shutil.rmtree(new, ignore_errors=True)
            shutil.rmtree(old, ignore_errors=True)


def _copy(part: Part, path: Path) -> None:
    digest = hashlib.sha256()
    with part.open() as source, path.open("wb") as target:
        while block := source.read(BLOCK_BYTES):
            digest.update(block)
            target.write(block)
        target.flush()
        os.fsync(target.fileno())
    if digest.hexdigest() != part.sha256:
        raise InputError(f"a loaded part was damaged after it was made ({part.sha256}): start again to make it anew.")


def _write(path: Path, content: bytes) -> None:
    with path.open("wb") as target:
        target.write(content)
        target.flush()
        os.fsync(target.fileno())


def _flush(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
