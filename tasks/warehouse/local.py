"""A folder of Parquet tables, queried by DuckDB. Knows nothing of Prefect."""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from tasks.errors import InputError
from tasks.warehouse.contract import TABLES, check_columns
from tasks.warehouse.local_paths import expand
from tasks.warehouse.sql import read_statement

MEMORY_LIMIT = "4GB"
BATCH_ROWS = 1 << 17


class LocalWarehouse:
    """Two Parquet tables below a folder: `<table>.parquet`, or a folder `<table>/` of parts."""

    def __init__(self, source: str) -> None:
        folder = expand("source", source)
        if not source or not folder.is_dir():
            raise InputError(
                f"source {source!r} is not a folder (seen from {Path.cwd()}): give one with playlists.parquet in it."
            )
        self._source = source
        self._parts = {table: _parts_of(folder, table) for table in TABLES}
        for table, parts in self._parts.items():
            for part in parts:
                check_columns(table, str(part), _types_of(part), _is_kind)

    def snapshot(self) -> dict[str, str]:
        """Per table a hash of its parts' content, whatever their names."""
        return {table: _digest(parts) for table, parts in self._parts.items()}

    def estimate_bytes(self, *names: str, parameters: dict[str, str | int | bool]) -> None:
        """Nothing: reading a folder is not billed."""

    def query(self, *names: str, parameters: dict[str, str | int | bool]) -> Iterator[pa.RecordBatch]:
        """Stream the result of the statement that these files of sql/ make, in no particular order.

        Raises InputError if a table cannot be read.
        """
        statement = re.sub(r"@(\w+)", r"$\1", read_statement(*names))
        with tempfile.TemporaryDirectory() as scratch, connect(scratch) as connection:
            try:
                connection.execute("CREATE TYPE float64 AS DOUBLE")
                for table, parts in self._parts.items():
                    # Parts may differ in type (an integer or an all-NULL part): by name, each column takes the widest.
                    connection.read_parquet([str(part) for part in parts], union_by_name=True).create_view(table)
                connection.execute(statement, parameters)
                yield from connection.to_arrow_reader(BATCH_ROWS)
            except duckdb.Error as error:
                raise InputError(describe(error, f"a table of source {self._source!r}")) from error


def describe(error: duckdb.Error, what: str) -> str:
    """What DuckDB could not do with `what`, in one line, with what to do about it."""
    reason = str(error).splitlines()[0]
    if isinstance(error, duckdb.OutOfMemoryException) or "No space left" in reason:
        return f"there is no room for a query ({reason}): set TMPDIR to a folder with more space."
    return f"{what} cannot be read ({reason}): check the Parquet files."


def connect(scratch: str) -> duckdb.DuckDBPyConnection:
    """A database that spills to the folder `scratch` instead of growing with the data.

    DuckDB 1.5 takes the bounds of a column from Parquet's statistics, which leave NaN out, and concludes that a test
    such as `x BETWEEN -1e12 AND 1e12` holds for every row: NaN would pass. Propagating statistics is turned off until
    a version passes the test on planted faults without this line.
    """
    connection = duckdb.connect(config={"memory_limit": MEMORY_LIMIT, "temp_directory": scratch})
    connection.execute("SET disabled_optimizers = 'statistics_propagation'")
    return connection


def sort_rows(path: Path, scratch: str) -> Iterator[pa.RecordBatch]:
    """The rows of a Parquet file ordered by all columns, left to right, sorted out of core."""
    with connect(scratch) as connection:
        connection.execute("SELECT * FROM read_parquet($path) ORDER BY ALL NULLS LAST", {"path": str(path)})
        yield from connection.to_arrow_reader(BATCH_ROWS)


def _parts_of(folder: Path, table: str) -> list[Path]:
    single = folder / f"{table}.parquet"
    if single.is_file() and any((folder / table).glob("*.parquet")):
        raise InputError(
            f"source {str(folder)!r} has {table}.parquet and a folder {table} of parts: remove one of them."
        )
    parts = [single] if single.is_file() else sorted((folder / table).glob("*.parquet"))
    if not parts:
        raise InputError(f"source {str(folder)!r} has no table {table!r}: put {table}.parquet, or parts, there.")
    return parts


def _types_of(part: Path) -> dict[str, pa.DataType]:
    try:
        return {field.name: field.type for field in pq.read_schema(part)}
    except (pa.ArrowException, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{str(part)!r} is not a whole Parquet file ({error}): write it again.") from error


def _is_kind(data_type: pa.DataType, kind: str) -> bool:
    types = pa.types
    if types.is_dictionary(data_type):
        data_type = data_type.value_type
    if types.is_null(data_type):
        return True
    if kind == "number":
        is_number = types.is_integer(data_type) or types.is_floating(data_type)
        return is_number or types.is_decimal(data_type) or types.is_boolean(data_type)
    is_text = types.is_string(data_type) or types.is_large_string(data_type) or types.is_string_view(data_type)
    return is_text or (kind == "id" and types.is_integer(data_type))


def _digest(parts: list[Path]) -> str:
    digests = []
    for part in parts:
        with part.open("rb") as stream:
            digests.append(hashlib.file_digest(stream, "sha256").hexdigest())
    return hashlib.sha256(" ".join(sorted(digests)).encode()).hexdigest()
