"""CSV, TSV and Parquet files under a person's own column names."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest

from tasks.errors import InputError
from tasks.warehouse.local import LocalWarehouse
from tasks.warehouse.rows import UnreadableError
from tasks.warehouse.tables import BATCH_ROWS, match_columns, read_header, read_rows

NAMED = {"unique_pid": "pid", "track_uri": "uri"}


def read(path: Path, form: str, named: dict[str, str] = NAMED) -> tuple[list[tuple[Any, ...]], Counter[str]]:
    """Playlist and track ids and artists, and what was rejected."""
    columns = match_columns("playlists", read_header(path, form), named)
    pieces = list(read_rows(path, form, "playlists", columns))
    rows = [tuple(row.values())[:3] for piece in pieces for row in piece.table.to_pylist()]
    return rows, sum((piece.rejected for piece in pieces), Counter())


def test_csv_keeps_zeros_quotes_and_words_that_look_like_nothing(tmp_path: Path) -> None:
    text = 'pid,else,uri,artist_name\n007,x,a,"A, ""B"" C"\n8,x,b,null\n9,x,c,NA\n10,x,d,\n'
    (tmp_path / "a.csv").write_text(text)
    rows, rejected = read(tmp_path / "a.csv", "csv")
    assert rows == [("007", "a", 'A, "B" C'), ("8", "b", "null"), ("9", "c", "NA"), ("10", "d", None)]
    assert not rejected


def test_tsv_a_byte_order_mark_and_rows_of_another_length(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_bytes(b"\xef\xbb\xbfpid\turi\n1\ta\n2\n3\tc\td\n4\te")
    rows, rejected = read(tmp_path / "a.tsv", "tsv")
    assert rows == [("1", "a", None), ("4", "e", None)]
    assert rejected == {"row has not as many cells as the header": 2}


HEAD, MANY = "pid,uri,artist_name\n1,a,x\n", "".join(f"{i},t{i},n\n" for i in range(3, 600))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (f'{HEAD}2,b,"Heroes\n{MANY}', "600 lines make 3 rows, from line 3 on: close the quote there"),
        (f'{HEAD}2,b,"Heroes\n{MANY}1000,z,Low"\n1001,q,w\n', "602 lines make 4 rows, from line 3 on"),
        (f'{HEAD}2,b,"Heroes\n{MANY * 200}', "from line 3 on|not a whole CSV file"),
        (f'{HEAD}2,b,"He\nroes"\n', "4 lines make 3 rows, from line 3 on: .* or take the line break out of the cell"),
        (f'{HEAD}2,b,c,"d\ne"\n', "4 lines make 3 rows"),
        (f'{HEAD}2,b,"Hero', "the last line ends inside quotes: the file is cut short"),
    ],
)
def test_a_quote_takes_no_rows_unseen(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text(text)
    with pytest.raises(UnreadableError, match=said):
        read(tmp_path / "a.csv", "csv")


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_empty_lines_and_quotes_within_a_cell_are_no_fault(end: str, tmp_path: Path) -> None:
    text = f'{HEAD}\n\n2,b,12" mix\n3,c,"d"\n\n'.replace("\n", end)
    (tmp_path / "a.csv").write_bytes(text.encode())
    assert read(tmp_path / "a.csv", "csv") == ([("1", "a", "x"), ("2", "b", '12" mix'), ("3", "c", "d")], Counter())


def no_unicode(*values: bytes) -> pa.Array:
    """A column that says it is text."""
    binary = pa.array(values, pa.binary())
    return pa.Array.from_buffers(pa.string(), len(binary), binary.buffers())


@pytest.mark.parametrize("column", ["pid", "uri", "artist_name"])
def test_parquet_text_that_is_no_utf8_is_refused(column: str, tmp_path: Path) -> None:
    columns = {"pid": pa.array(["1"]), "uri": pa.array(["a"]), "artist_name": pa.array(["x"])}
    pq.write_table(pa.table(columns | {column: no_unicode(b"Beyonc\xe9")}), tmp_path / "a.parquet")
    with pytest.raises(UnreadableError, match=r"not a whole PARQUET file .*UTF8"):
        read(tmp_path / "a.parquet", "parquet")


def test_a_parquet_column_whose_name_is_no_utf8_is_refused(tmp_path: Path) -> None:
    for name in ("playlists", "tracks_headers"):
        pq.write_table(pa.table({"pid": ["1"], "uri": ["a"], "name_of_it": ["x"]}), tmp_path / f"{name}.parquet")
        content = (tmp_path / f"{name}.parquet").read_bytes().replace(b"name_of_it", b"name\xf1of_it")
        (tmp_path / f"{name}.parquet").write_bytes(content)
    with pytest.raises(UnreadableError, match="not a whole PARQUET file"):
        read(tmp_path / "playlists.parquet", "parquet")
    with pytest.raises(InputError, match="not a whole Parquet file"):
        LocalWarehouse(str(tmp_path))


def test_parquet_in_any_order_of_columns(tmp_path: Path) -> None:
    pq.write_table(pa.table({"artist_name": ["x"], "uri": ["a"], "z": [[1]], "pid": [3]}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", "parquet") == ([("3", "a", "x")], Counter())


def test_one_column_may_stand_for_two(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("pid,uri\n1,a\n")
    assert read(tmp_path / "a.csv", "csv", NAMED | {"artist_name": "uri"})[0] == [("1", "a", "a")]


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_header_alone_has_no_rows(form: str, tmp_path: Path) -> None:
    table, path = pa.table({"pid": pa.array([], pa.string()), "uri": pa.array([], pa.string())}), tmp_path / "file"
    pa.csv.write_csv(table, path) if form == "csv" else pq.write_table(table, path)
    assert read(path, form) == ([], Counter())


def test_columns_that_are_not_there() -> None:
    header = ["pid", "uri", "time\nsignature"]
    assert match_columns("playlists", header, NAMED) == NAMED
    with pytest.raises(
        UnreadableError, match=r"no column 'unique_pid' for unique_pid \(there are 'pid', 'uri', .*uniq"
    ):
        match_columns("playlists", header, {})
    with pytest.raises(
        UnreadableError, match=r"no column 'singer' for artist_name .* name it with --columns.artist-name"
    ):
        match_columns("playlists", header, NAMED | {"artist_name": "singer"})
    with pytest.raises(UnreadableError, match="two columns are called 'pid'"):
        match_columns("playlists", [*header, "pid"], NAMED)


def damage(path: Path, kind: str) -> None:
    content = path.read_bytes()
    if kind == "cut short":
        path.write_bytes(content[: len(content) // 2])
    elif kind == "a bit":
        middle = len(content) // 4
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
    elif kind == "empty":
        path.write_bytes(b"")
    else:
        path.write_bytes(content.replace(b"artist 9998", b"artist\xff9998"))


@pytest.mark.parametrize(("form", "kind"), [("parquet", "cut short"), ("parquet", "a bit"), ("parquet", "empty")])
def test_a_damaged_parquet_file_says_so(form: str, kind: str, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    pq.write_table(
        pa.table({"pid": list(range(9999)), "uri": [f"u{i}" for i in range(9999)]}), path, write_page_checksum=True
    )
    damage(path, kind)
    with pytest.raises(UnreadableError, match="not a whole PARQUET file"):
        read(path, form)


@pytest.mark.parametrize(("kind", "said"), [("empty", "empty"), ("no text", "not a whole CSV file .*UTF8")])
def test_a_damaged_csv_file_says_so(kind: str, said: str, tmp_path: Path) -> None:
    lines = [f"{i},u{i},artist {i}" for i in range(9999)]
    (tmp_path / "a.csv").write_text("\n".join(["pid,uri,artist_name", *lines]))
    damage(tmp_path / "a.csv", kind)
    with pytest.raises(UnreadableError, match=said):
        read(tmp_path / "a.csv", "csv")


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_memory_does_not_grow_with_the_rows(form: str, tmp_path: Path) -> None:
    """One row group of 3 million rows, or as much CSV: 200 MB as a whole."""
    n, path = 3_000_000, tmp_path / "a"
    ids = pa.array(range(n)).cast(pa.string())
    table = pa.table({"pid": ids, "uri": pa.compute.binary_join_element_wise("spotify:track:", ids, "")})
    pa.csv.write_csv(table, path) if form == "csv" else pq.write_table(
        table, path, row_group_size=n, use_dictionary=False
    )
    del table, ids
    pa.default_memory_pool().release_unused()
    process, before = psutil.Process(), pa.total_allocated_bytes()
    resident, peak, rows = process.memory_info().rss, 0, 0
    columns = match_columns("playlists", read_header(path, form), NAMED)
    for piece in read_rows(path, form, "playlists", columns):
        rows += piece.table.num_rows
        peak = max(peak, pa.total_allocated_bytes() - before)
    assert rows == n > 10 * BATCH_ROWS
    assert peak < 60e6
    assert process.memory_info().rss - resident < 150e6
