"""Parquet and small files in a storage folder: published only when whole, verified before use."""

from __future__ import annotations

import base64
import hashlib
import os
import secrets
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import google_crc32c
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.errors import InputError
from tasks.references import FileRef

WRITE_OPTIONS = {
    "compression": "zstd",
    "compression_level": 3,
    "write_page_checksum": True,  # without it a flipped bit mostly reads as silently wrong data
    "store_schema": True,
}

FOLDERS = ("data", "records", "runs")

_verified: dict[Path, tuple[str, int, int, int]] = {}  # what this process has hashed: sha256, size, mtime, inode


class DamagedFileError(Exception):
    """A referenced file is missing, or its bytes are not what the reference says."""


class Storage:
    """A folder that holds everything runs leave behind: data/, records/ and runs/, all named relative to it."""

    def __init__(self, uri: str) -> None:
        if "://" in uri:
            raise InputError(f"storage {uri!r} has an unknown scheme: give a local folder.")
        if not uri:
            raise InputError("storage is empty: give a local folder.")
        self.uri = uri
        self._root = Path(uri).expanduser().absolute()

    def probe(self) -> None:
        """Write, read and delete a small file; raises InputError if that fails.

        Prefect takes every error on reading a record for a cache miss: without this check a storage without
        permission would look like a full recompute.
        """
        if self._root.exists() and not self._root.is_dir():
            raise InputError(f"storage {self.uri!r} is a file: give a folder.")
        try:
            is_same = all(self._returns(f"{folder}/probe-{secrets.token_hex(8)}") for folder in FOLDERS)
        except OSError as error:
            reason = error.strerror or str(error)
            raise InputError(
                f"storage {self.uri!r} cannot be written ({reason}): give a folder you may write."
            ) from error
        if not is_same:
            raise InputError(f"storage {self.uri!r} does not return what was written to it: check the disk.")

    def _returns(self, path: str) -> bool:
        """Whether a small file comes back as it was written; it is deleted again."""
        content = secrets.token_bytes(16)
        self.write_bytes(path, content)
        is_same = self.read_bytes(path) == content
        self.resolve(path).unlink()
        return is_same

    def resolve(self, path: str) -> Path:
        """Where a relative path of this storage is on the disk; refuses a path that leaves the storage."""
        resolved = self._root / path
        if Path(path).is_absolute() or ".." in Path(path).parts:
            raise ValueError(f"{path!r} is not a path inside the storage")
        return resolved

    def read_bytes(self, path: str) -> bytes:
        """The content of a small file; raises FileNotFoundError."""
        return self.resolve(path).read_bytes()

    def write_bytes(self, path: str, content: bytes) -> None:
        """Write a small file, whole or not at all."""
        with self._published_at(path) as part:
            part.write_bytes(content)

    @contextmanager
    def _published_at(self, path: str) -> Iterator[Path]:
        """A temporary file beside `path` that takes its name when the block ends well, and vanishes otherwise."""
        final = self.resolve(path)
        final.parent.mkdir(parents=True, exist_ok=True)
        part = final.with_name(f".{secrets.token_hex(8)}.part")
        try:
            yield part
            _flush(part)
            part.replace(final)
            _flush(final.parent)
        finally:
            part.unlink(missing_ok=True)

    def verify(self, file: FileRef) -> None:
        """Raise DamagedFileError unless the file is there with the size and the sha256 of its reference.

        A file that this process has already hashed is hashed again only if its size, time or inode moved.
        """
        path = self.resolve(file.path)
        try:
            stat = path.stat()
        except FileNotFoundError:
            raise DamagedFileError(f"file missing: {file.path}") from None
        seen = (file.sha256, stat.st_size, stat.st_mtime_ns, stat.st_ino)
        if _verified.get(path) == seen:
            return
        if stat.st_size != file.size:
            raise DamagedFileError(f"file damaged: {file.path} has {stat.st_size} bytes instead of {file.size}")
        if _sha256(path) != file.sha256:
            raise DamagedFileError(f"file damaged: {file.path} has other content than its name says")
        _verified[path] = seen

    def open_parquet(self, file: FileRef) -> pq.ParquetFile:
        """A referenced file for reading piece by piece; damaged pages raise OSError when they are read."""
        return pq.ParquetFile(self.resolve(file.path), page_checksum_verification=True)

    def read_table(self, file: FileRef, columns: list[str] | None = None) -> pa.Table:
        """A referenced file as a whole, in one thread: the tasks are the threads."""
        with self.open_parquet(file) as parquet:
            return parquet.read(columns=columns, use_threads=False)

    def read_rows(self, file: FileRef, column: str, values: list[str]) -> pa.Table:
        """The rows whose `column` is one of `values`; row groups that cannot hold them are not read."""
        return pq.read_table(
            self.resolve(file.path),
            filters=pc.field(column).isin(values),
            partitioning=None,
            use_threads=False,
            page_checksum_verification=True,
        )

    def write_table(self, stage: str, table: pa.Table) -> FileRef:
        """Write one table as one row group."""
        return self.write_row_groups(stage, table.schema, [table])

    def write_row_groups(self, stage: str, schema: pa.Schema, tables: Iterable[pa.Table]) -> FileRef:
        """Stream tables, a row group each, into data/<stage>/<sha256>.parquet, and return its reference.

        An error while the tables are produced or written leaves nothing under a final name.
        """
        folder = f"data/{stage}"
        self.resolve(folder).mkdir(parents=True, exist_ok=True)
        part = self.resolve(folder) / f".{secrets.token_hex(8)}.part"
        try:
            rows = _write_parquet(part, schema, tables)
            file = _describe(part, folder, rows)
            self._publish(part, file)
        finally:
            part.unlink(missing_ok=True)
        return file

    def _publish(self, part: Path, file: FileRef) -> None:
        try:
            self.verify(file)  # the same content is already there: an early cutoff writes nothing
        except DamagedFileError:
            _flush(part)
            final = self.resolve(file.path)
            part.replace(final)
            _flush(final.parent)


def rechunk(tables: Iterable[pa.Table], schema: pa.Schema, rows: int) -> Iterator[pa.Table]:
    """Tables of exactly `rows` rows (the last may be shorter), however the rows came.

    Row groups, and with them the bytes of a file, must not depend on how a query was executed.
    """
    pending = schema.empty_table()
    for table in tables:
        pending = pa.concat_tables([pending, table])
        while pending.num_rows >= rows:
            yield pending.slice(0, rows)
            pending = pending.slice(rows)
    if pending.num_rows:
        yield pending


def _write_parquet(path: Path, schema: pa.Schema, tables: Iterable[pa.Table]) -> int:
    rows = 0
    with pq.ParquetWriter(path, schema, **WRITE_OPTIONS) as writer:
        for table in tables:
            writer.write_table(table.combine_chunks(), row_group_size=max(1, table.num_rows))
            rows += table.num_rows
    return rows


def _describe(path: Path, folder: str, rows: int) -> FileRef:
    sha256, crc32c = hashlib.sha256(), google_crc32c.Checksum()
    with path.open("rb") as stream:
        while block := stream.read(1 << 20):
            sha256.update(block)
            crc32c.update(block)
    digest = sha256.hexdigest()
    return FileRef(
        path=f"{folder}/{digest}.parquet",
        size=path.stat().st_size,
        sha256=digest,
        crc32c=base64.b64encode(crc32c.digest()).decode(),
        rows=rows,
    )


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
