"""Where a storage keeps its files: one small interface, local folder or bucket."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path, PurePosixPath
from typing import BinaryIO, NamedTuple, Protocol

import pyarrow as pa

from tasks.references import FileRef


class DamagedFileError(Exception):
    """A referenced file is missing, or its bytes are not what the reference says."""


class UnavailableError(OSError):
    """The place gives no answer or no access, after its own retries: what is left of the run cannot be done now."""


class ConflictError(Exception):
    """A small file was replaced by somebody else since it was read."""


class StoredFile(NamedTuple):
    """A file as a listing shows it; path: relative to the storage root, size: bytes, modified: UTC."""

    path: str
    size: int
    modified: datetime


class Files(Protocol):
    """Files below a root, named by paths relative to it with forward slashes; whole under their name or not there.

    A path that leaves the root is a ValueError. A fault of the place is an OSError: an UnavailableError if it has been
    tried again already, or cannot pass.
    """

    def probe(self) -> None:
        """Write, read and delete small files; raises InputError if that fails."""

    def read(self, path: str) -> bytes:
        """The content of a small file; raises FileNotFoundError."""

    def write(self, path: str, content: bytes) -> None:
        """Write or replace a small file, whole or not at all."""

    def read_version(self, path: str) -> tuple[bytes | None, str]:
        """The content of a small file, None if it is not there, and the version that `replace` wants back."""

    def replace(self, path: str, content: bytes, version: str) -> None:
        """Write a small file if it still has this version; raises ConflictError, and changes nothing, if not."""

    def exists(self, path: str) -> bool:
        """Whether there is a file of this name."""

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Every file below a folder, temporary ones included, in no particular order; none if it is not there."""

    def delete(self, path: str) -> None:
        """Delete a file; one that is not there is deleted already."""

    def scratch(self, folder: str) -> AbstractContextManager[Path]:
        """A name for a new local file, from where `publish` brings it below `folder`; gone when the block ends."""

    def publish(self, part: Path, file: FileRef) -> None:
        """Bring a finished local file under its final name, unless the right content is already there."""

    def verify(self, file: FileRef) -> None:
        """Raise DamagedFileError unless the file is there with the content of its reference."""

    def open(self, file: FileRef) -> AbstractContextManager[BinaryIO | pa.NativeFile]:
        """A referenced file for reading at any position; raises FileNotFoundError."""


def inside(path: str) -> str:
    """The path itself; raises ValueError if it leaves the root that it is relative to."""
    if not path or PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts:
        raise ValueError(f"{path!r} is not a path inside the storage")
    return path
