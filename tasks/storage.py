"""Parquet and small files in a storage: published only when whole, verified before use."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import google_crc32c
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from tasks.errors import InputError
from tasks.files import Files
from tasks.local_files import LocalFiles
from tasks.references import FileRef

S = TypeVar("S")
T = TypeVar("T")
QUESTIONS_AT_ONCE = 16
WRITE_OPTIONS = {
    "compression": "zstd",
    "compression_level": 3,
    "write_page_checksum": True,  # without it a flipped bit mostly reads as silently wrong data
    "store_schema": True,
}


class Storage:
    """Everything that runs leave behind: data/, records/ and runs/, all named relative to it.

    files: the place itself, for small files and housekeeping. Data files are written and read here, as Parquet named by
    its content.
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.files = open_files(uri)

    def verify(self, *files: FileRef) -> None:
        """Raise DamagedFileError unless every file is there with the content of its reference."""
        list(at_once(self.files.verify, files))

    def missing(self, paths: list[str]) -> list[str]:
        """The paths under which there is no file."""
        return [path for path, exists in zip(paths, at_once(self.files.exists, paths), strict=True) if not exists]

    @contextmanager
    def open_parquet(self, file: FileRef) -> Iterator[pq.ParquetFile]:
        """A referenced file for reading piece by piece; damaged pages raise OSError when they are read."""
        with self.files.open(file) as stream, pq.ParquetFile(stream, page_checksum_verification=True) as parquet:
            yield parquet

    def read_table(self, file: FileRef, columns: list[str] | None = None) -> pa.Table:
        """A referenced file as a whole, in one thread: the tasks are the threads."""
        with self.open_parquet(file) as parquet:
            return parquet.read(columns=columns, use_threads=False)

    def read_rows(self, file: FileRef, column: str, values: list[str]) -> pa.Table:
        """The rows whose `column` is one of `values`; row groups that cannot hold them are not read."""
        with self.files.open(file) as stream:
            return pq.read_table(
                stream,
                filters=pc.field(column).isin(values),
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
        with self.files.scratch(folder) as part:
            rows = _write_parquet(part, schema, tables)
            file = _describe(part, folder, rows)
            self.files.publish(part, file)
        return file


def open_files(uri: str) -> Files:
    """The place that a storage names: a local folder, or gs://bucket/prefix.

    Raises InputError if the scheme is unknown or the bucket cannot be one.
    """
    if uri.startswith("gs://"):
        from tasks.gcs_files import GcsFiles  # half a second, which runs on a local folder need not wait for

        return GcsFiles(uri)
    if "://" in uri:
        raise InputError(f"storage {uri!r} has an unknown scheme: give a local folder or gs://bucket/prefix.")
    return LocalFiles(uri)


def at_once(question: Callable[[S], T], subjects: Sequence[S]) -> Iterator[T]:
    """The answers in order. A bucket takes a while for each, and there may be thousands."""
    if len(subjects) < 2:
        return map(question, subjects)
    with ThreadPoolExecutor(QUESTIONS_AT_ONCE) as pool:
        return pool.map(question, subjects)


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
