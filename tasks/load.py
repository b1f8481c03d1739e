"""From a person's files to parts of the two tables: one part per file, then checked together."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from tasks.checkpoints import checkpointed
from tasks.errors import InputError, SourceChangedError
from tasks.load_references import InputFile, LoadedPart, Matches
from tasks.references import FileRef
from tasks.storage import Storage, rechunk
from tasks.warehouse.contract import SCHEMAS
from tasks.warehouse.inputs import hash_file
from tasks.warehouse.matches import count_matches
from tasks.warehouse.rows import Rows, UnreadableError
from tasks.warehouse.slices import MAX_BYTES, read_slice
from tasks.warehouse.tables import match_columns, read_header, read_rows

ROW_GROUP = 1 << 17


@checkpointed(task_run_name="load playlists {file.path}")
def load_playlists(*, storage: str, file: InputFile, form: str, columns: dict[str, str], number: int) -> LoadedPart:
    """The memberships of one input file as a Parquet part in the contract's schema.

    columns: what a person calls the contract's columns; empty for a slice. A file that cannot be read is a part without
    a file, with the reason: it does not stop the others. Raises SourceChangedError if it is no longer what it was.
    """
    if form == "slice":
        return _load_slice(storage, file)
    return _load_table(storage, file, form, "playlists", columns)


@checkpointed(task_run_name="load tracks {file.path}")
def load_tracks(*, storage: str, file: InputFile, form: str, columns: dict[str, str], number: int) -> LoadedPart:
    """The features of one input file, as load_playlists does it."""
    return _load_table(storage, file, form, "tracks_headers", columns)


def _load_slice(storage: str, file: InputFile) -> LoadedPart:
    if file.size > MAX_BYTES:
        return _unreadable(f"{file.size:,} bytes: a slice has 35 million, and at most {MAX_BYTES:,} are read")
    content = Path(file.path).read_bytes()
    if hashlib.sha256(content).hexdigest() != file.sha256:
        raise _changed(file)
    try:
        rows = read_slice(content)
    except UnreadableError as error:
        return _unreadable(str(error))
    tally = Tally()
    return tally.part(Storage(storage).write_row_groups("playlists", SCHEMAS["playlists"], tally.tables([rows])), [])


def _load_table(storage: str, file: InputFile, form: str, table: str, named: dict[str, str]) -> LoadedPart:
    path, tally, schema = Path(file.path), Tally(), SCHEMAS[table]
    try:
        columns = match_columns(table, read_header(path, form), named)
        tables = tally.tables(read_rows(path, form, table, columns))
        written = Storage(storage).write_row_groups(table, schema, rechunk(tables, schema, ROW_GROUP))
        part = tally.part(written, [name for name in schema.names if name not in columns])
    except UnreadableError as error:
        part = _unreadable(str(error))
    if hash_file(path) != file.sha256:
        raise _changed(file)
    return part


class Tally:
    """Passes tables on and counts what is said about them."""

    def __init__(self) -> None:
        self._n_rows = 0
        self._rejected: Counter[str] = Counter()
        self._nulled: Counter[str] = Counter()

    def tables(self, pieces: Iterator[Rows] | list[Rows]) -> Iterator[pa.Table]:
        """The tables of these pieces."""
        for rows in pieces:
            self._n_rows += rows.table.num_rows + rows.rejected.total()
            self._rejected += rows.rejected
            self._nulled += rows.nulled
            yield rows.table

    def part(self, file: FileRef, absent: list[str]) -> LoadedPart:
        """The reference, once all tables are through."""
        return LoadedPart(
            file=file,
            fault="",
            n_rows=self._n_rows,
            rejected=dict(sorted(self._rejected.items())),
            nulled=dict(sorted(self._nulled.items())),
            absent=absent,
        )


def _unreadable(fault: str) -> LoadedPart:
    return LoadedPart(file=None, fault=fault, n_rows=0, rejected={}, nulled={}, absent=[])


def _changed(file: InputFile) -> SourceChangedError:
    return SourceChangedError(f"{file.path!r} changed while it was read: start again when nothing writes to it.")


@checkpointed(task_run_name="match tracks")
def match_tracks(*, storage: str, playlists: list[FileRef], tracks: list[FileRef]) -> Matches:
    """Of how many memberships the track has features.

    Raises InputError if there are none: no playlist could be trained on.
    """
    counted = count_matches(
        _stream(storage, playlists, "playlists", "track_uri"), _stream(storage, tracks, "tracks_headers", "trackid")
    )
    matches = Matches(n_memberships=counted[0], n_with_features=counted[1])
    if not matches.n_with_features:
        raise InputError(
            f"none of {matches.n_memberships:,} memberships has a track with features "
            f"({_example(storage, playlists, 'track_uri')} in the playlists, {_example(storage, tracks, 'trackid')} in "
            "the tracks): give tables whose ids are of one kind, or name other columns (--columns.track-uri, "
            "--columns.trackid)."
        )
    return matches


def _stream(storage: str, files: list[FileRef], table: str, column: str) -> pa.RecordBatchReader:
    def batches() -> Iterator[pa.RecordBatch]:
        for file in files:
            with Storage(storage).open_parquet(file) as parquet:
                yield from parquet.iter_batches(columns=[column], use_threads=False)

    return pa.RecordBatchReader.from_batches(pa.schema([SCHEMAS[table].field(column)]), batches())


def _example(storage: str, files: list[FileRef], column: str) -> str:
    for file in files:
        if file.rows:
            with Storage(storage).open_parquet(file) as parquet:
                return repr(next(parquet.iter_batches(1, columns=[column]))[0][0].as_py())
    return "nothing"
