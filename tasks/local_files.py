"""A storage in a local folder: temporary file, fsync, rename."""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from tasks.errors import InputError
from tasks.files import ConflictError, DamagedFileError, StoredFile, inside
from tasks.references import FileRef
from tasks.warehouse.local_paths import expand

PROBED = ("data", "records", "runs")

_verified: dict[Path, tuple[str, int, int, int]] = {}  # what this process has hashed: sha256, size, mtime, inode


class LocalFiles:
    """Files below a local folder; tasks/files.py says what each method promises."""

    def __init__(self, folder: str) -> None:
        if not folder:
            raise InputError("storage is empty: give a local folder or gs://bucket/prefix.")
        self._name = folder
        self._root = expand("storage", folder).absolute()

    def probe(self) -> None:
        """Write, read and delete a small file in each folder."""
        if self._root.exists() and not self._root.is_dir():
            raise InputError(f"storage {self._name!r} is a file: give a folder.")
        try:
            is_same = all(self._returns(f"{folder}/probe-{secrets.token_hex(8)}") for folder in PROBED)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"storage {self._name!r} cannot be written ({reason}): give a folder you may write."
            ) from error
        if not is_same:
            raise InputError(f"storage {self._name!r} does not return what was written to it: check the disk.")

    def _returns(self, path: str) -> bool:
        """Whether a small file comes back as it was written; it is deleted again."""
        content = secrets.token_bytes(16)
        self.write(path, content)
        is_same = self.read(path) == content
        self.delete(path)
        return is_same

    def _at(self, path: str) -> Path:
        return self._root / inside(path)

    def read(self, path: str) -> bytes:
        """The content of a small file."""
        return self._at(path).read_bytes()

    def write(self, path: str, content: bytes) -> None:
        """Write a small file beside its final name, then rename it."""
        with self.scratch(str(Path(inside(path)).parent)) as part:
            part.write_bytes(content)
            _rename(part, self._at(path))

    def read_version(self, path: str) -> tuple[bytes | None, str]:
        """The content, and its hash as the version."""
        try:
            content = self.read(path)
        except FileNotFoundError:
            return None, ""
        return content, hashlib.sha256(content).hexdigest()

    def replace(self, path: str, content: bytes, version: str) -> None:
        """Compare and write under a lock on the storage's folder, which the system drops if the process dies."""
        self._root.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(self._root, os.O_RDONLY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if self.read_version(path)[1] != version:
                raise ConflictError(f"{path} was replaced by another process")
            for left in self._root.glob(f".{'[0-9a-f]' * 16}.part"):  # of processes that were killed here
                left.unlink(missing_ok=True)
            self.write(path, content)
        finally:
            os.close(descriptor)

    def exists(self, path: str) -> bool:
        """Whether there is a regular file of this name."""
        return self._at(path).is_file()

    def list(self, folder: str) -> Iterator[StoredFile]:
        """Every file below a folder."""
        for path in self._at(folder).rglob("*"):
            try:
                stat = path.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # another run has just published or deleted it
            if path.is_file():
                name = path.relative_to(self._root).as_posix()
                yield StoredFile(name, stat.st_size, datetime.fromtimestamp(stat.st_mtime, UTC))

    def delete(self, path: str) -> None:
        """Delete a file; the folder of a run goes with its last one."""
        self._at(path).unlink(missing_ok=True)
        if Path(path).parts[:-2] == ("runs",):
            with contextlib.suppress(OSError):  # not empty yet
                self._at(path).parent.rmdir()

    @contextlib.contextmanager
    def scratch(self, folder: str) -> Iterator[Path]:
        """A random name in the folder of the final file, so that publishing is a rename."""
        self._at(folder).mkdir(parents=True, exist_ok=True)
        part = self._at(folder) / f".{secrets.token_hex(8)}.part"
        try:
            yield part
        finally:
            part.unlink(missing_ok=True)

    def publish(self, part: Path, file: FileRef) -> None:
        """Rename; if the same content is already there, an early cutoff writes nothing."""
        try:
            self.verify(file)
        except DamagedFileError:
            _rename(part, self._at(file.path))

    def verify(self, file: FileRef) -> None:
        """Compare size and sha256; a file hashed before is hashed again only if its size, time or inode moved."""
        path = self._at(file.path)
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise DamagedFileError(f"file missing: {file.path}") from None
        seen = (file.sha256, stat.st_size, stat.st_mtime_ns, stat.st_ino)
        if _verified.get(path) == seen:
            return
        if not path.is_file():
            raise DamagedFileError(f"file damaged: {file.path} is a folder")
        if stat.st_size != file.size:
            raise DamagedFileError(f"file damaged: {file.path} has {stat.st_size} bytes instead of {file.size}")
        if _sha256(path) != file.sha256:
            raise DamagedFileError(f"file damaged: {file.path} has other content than its name says")
        _verified[path] = seen

    def open(self, file: FileRef) -> pa.NativeFile:
        """The file, read by Arrow itself."""
        return pa.OSFile(str(self._at(file.path)))


def _rename(part: Path, final: Path) -> None:
    _flush(part)
    if final.is_dir():  # somebody's damage: only files stand under the names that are written
        shutil.rmtree(final)
    part.replace(final)
    _flush(final.parent)


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _flush(path: Path) -> None:
    """Hand the content of a file or folder to the disk: a rename may survive a crash that unflushed bytes do not."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
