"""CSV and Parquet files of a person's own, read piece by piece. Pure: no Prefect, no Google."""

from __future__ import annotations

import csv
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq

from tasks.warehouse.contract import KEYS, TABLES
from tasks.warehouse.rows import Rows, UnreadableError, clean_rows

BATCH_ROWS = 1 << 16
BLOCK_BYTES = 1 << 20  # a CSV row must fit
DELIMITERS = {"csv": ",", "tsv": "\t"}


def read_header(path: Path, form: str) -> list[str]:
    """The names of a file's columns; raises UnreadableError if there are none to be read."""
    if form == "parquet":
        with _arrow_errors(form):
            return list(pq.read_schema(path).names)
    try:
        with path.open(encoding="utf-8-sig", newline="") as stream:
            return next(csv.reader(stream, delimiter=DELIMITERS[form]))
    except StopIteration:
        raise UnreadableError("empty") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise UnreadableError(f"not {form.upper()} in UTF-8 ({error})") from error


def match_columns(table: str, header: list[str], named: Mapping[str, str]) -> dict[str, str]:
    """The column in the file for each column of the contract that has one.

    named: what a person calls a column, if not as the contract does. An id must be there, and so must what was named;
    any other column may be absent. Raises UnreadableError.
    """
    found: dict[str, str] = {}
    for column in TABLES[table]:
        name = named.get(column, column)
        if header.count(name) > 1:
            raise UnreadableError(f"two columns are called {name!r}")
        if name in header:
            found[column] = name
        elif column in KEYS[table] or name != column:
            raise UnreadableError(
                f"no column {name!r} for {column} (there are {', '.join(map(repr, header[:20]))}): name it with "
                f"--columns.{column.replace('_', '-')}"
            )
    return found


def read_rows(path: Path, form: str, table: str, columns: Mapping[str, str]) -> Iterator[Rows]:
    """The rows of a CSV, TSV or Parquet file in the contract's form, some ten thousand at a time.

    columns: as match_columns found them. Raises UnreadableError as soon as a piece cannot be read, and at the end if a
    CSV or TSV row has several lines: nobody can tell a cell with a line break from a quote that is never closed, which
    takes all rows up to the next quote into one cell.
    """
    read = _read_parquet(path, columns) if form == "parquet" else _read_csv(path, DELIMITERS[form], columns)
    with _arrow_errors(form):
        for given, rejected in read:
            rows = clean_rows(table, given.select(list(columns.values())).rename_columns(list(columns)))
            yield Rows(rows.table, rows.rejected + rejected, rows.nulled)


def _read_parquet(path: Path, columns: Mapping[str, str]) -> Iterator[tuple[pa.Table, Counter[str]]]:
    # Without pre_buffer a row group is read page by page, however large it is.
    with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as parquet:
        for batch in parquet.iter_batches(BATCH_ROWS, columns=_distinct(columns), use_threads=False):
            batch.validate(full=True)  # text that is no UTF-8 would fail whoever reads the loaded table
            yield pa.Table.from_batches([batch]), Counter()


def _read_csv(path: Path, delimiter: str, columns: Mapping[str, str]) -> Iterator[tuple[pa.Table, Counter[str]]]:
    """Every cell as text: an id keeps its zeros, and a cell that is no number can be counted."""
    names, rejected, n_rows = _distinct(columns), Counter[str](), 0

    def reject(row: pa.csv.InvalidRow) -> str:
        rejected["row has not as many cells as the header"] += 1
        return "skip"

    with pa.csv.open_csv(
        path,
        read_options=pa.csv.ReadOptions(block_size=BLOCK_BYTES, use_threads=False),
        parse_options=pa.csv.ParseOptions(delimiter=delimiter, newlines_in_values=True, invalid_row_handler=reject),
        convert_options=pa.csv.ConvertOptions(
            include_columns=names,
            column_types=dict.fromkeys(names, pa.string()),
            null_values=[""],  # not Arrow's list: a playlist may be called "null"
            strings_can_be_null=True,
        ),
    ) as reader:
        for batch in reader:
            n_rows += batch.num_rows + rejected.total()
            yield pa.Table.from_batches([batch]), rejected.copy()
            rejected.clear()
    yield pa.table({name: pa.nulls(0, pa.string()) for name in names}), rejected
    _check_lines(path, delimiter, 1 + n_rows + rejected.total())


def _check_lines(path: Path, delimiter: str, n_rows: int) -> None:
    """Raise UnreadableError unless each of the rows, header included, is one line with all its quotes closed."""
    n_lines, last = 0, ""
    with path.open(encoding="latin-1") as stream:  # any byte is a character, any kind of line end one
        for line in stream:
            if line != "\n":
                n_lines, last = n_lines + 1, line
    if n_lines != n_rows:
        raise UnreadableError(
            f"{n_lines:,} lines make {n_rows:,} rows, from line {_first_long_row(path, delimiter):,} on: close the "
            "quote there, or take the line break out of the cell"
        )
    if len(list(csv.reader([last, "another line"], delimiter=delimiter))) == 1:
        raise UnreadableError("the last line ends inside quotes: the file is cut short, or a quote is not closed")


def _first_long_row(path: Path, delimiter: str) -> int:
    """The number of the line where the first row of several lines begins."""
    before = 0
    with path.open(encoding="latin-1") as stream, suppress(csv.Error):  # a cell of more than 128 KB
        reader = csv.reader(stream, delimiter=delimiter)
        for _ in reader:
            if reader.line_num > before + 1:
                break
            before = reader.line_num
    return before + 1


def _distinct(columns: Mapping[str, str]) -> list[str]:
    return list(dict.fromkeys(columns.values()))


@contextmanager
def _arrow_errors(form: str) -> Iterator[None]:
    """What Arrow cannot read becomes UnreadableError; a fault of the disk, which has a number, stays an OSError."""
    try:
        yield
    except (pa.ArrowException, UnicodeDecodeError, csv.Error) as error:
        raise UnreadableError(f"not a whole {form.upper()} file ({_first_line(error)})") from error
    except OSError as error:
        if error.errno is not None:
            raise
        raise UnreadableError(f"not a whole {form.upper()} file ({_first_line(error)})") from error


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
