"""What a load took in and left out: rows in, rows rejected by reason, files that cannot be read."""

from __future__ import annotations

from collections import Counter
from typing import Any

from pydantic import BaseModel

from tasks.load_references import InputFile, LoadedPart, Matches

STAGES = {"playlists": "load_playlists", "tracks_headers": "load_tracks"}
COLUMNS = ("files", "bad files", "rows", "rejected", "kept")


class TableSummary(BaseModel):
    """One table. n_rows = n_rejected + n_kept; n_bad_files are among n_files.

    bad_files: why, by path. rejected: rows by reason. nulled: values that became NULL, by reason. absent: columns that
    files lack, and how many of them do; they are NULL.
    """

    n_files: int
    n_bad_files: int
    n_rows: int
    n_rejected: int
    n_kept: int
    bad_files: dict[str, str]
    rejected: dict[str, int]
    nulled: dict[str, int]
    absent: dict[str, int]


class LoadSummary(BaseModel):
    """A whole load. copies: files left out because another one has the same content. published: it is in its place."""

    tables: dict[str, TableSummary]
    copies: list[str]
    matches: Matches | None
    published: bool


def summarize_load(results: dict[str, Any]) -> LoadSummary | None:
    """The summary of a load by the results of its stages, as far as they came; None if nothing was read."""
    inputs = results.get("read_inputs")
    if inputs is None:
        return None
    given = {"playlists": inputs.playlists, "tracks_headers": inputs.tracks}
    return LoadSummary(
        tables={table: summarize_table(given[table], results.get(stage, [])) for table, stage in STAGES.items()},
        copies=inputs.copies,
        matches=results.get("match_tracks"),
        published="publish_tables" in results,
    )


def summarize_table(files: list[InputFile], parts: list[LoadedPart | None]) -> TableSummary:
    """Sums over the parts of a table, one per file in the same order; None, or no part at all, for a failed task."""
    bad_files, absent = {}, Counter[str]()
    rejected, nulled = Counter[str](), Counter[str]()
    n_rows = 0
    for file, part in zip(files, parts, strict=False):
        if part is None:
            continue
        if part.fault:
            bad_files[file.path] = part.fault
        n_rows += part.n_rows
        rejected.update(part.rejected)
        nulled.update(part.nulled)
        absent.update(part.absent)
    return TableSummary(
        n_files=len(files),
        n_bad_files=len(bad_files),
        n_rows=n_rows,
        n_rejected=rejected.total(),
        n_kept=n_rows - rejected.total(),
        bad_files=bad_files,
        rejected=dict(sorted(rejected.items())),
        nulled=dict(sorted(nulled.items())),
        absent=dict(sorted(absent.items())),
    )


def count_rows(summary: LoadSummary) -> list[tuple[str, list[str]]]:
    """A line of figures per table, under COLUMNS."""
    lines = []
    for name, table in summary.tables.items():
        figures = (table.n_files, table.n_bad_files, table.n_rows, table.n_rejected, table.n_kept)
        lines.append((name, [f"{figure:,}" for figure in figures]))
    return lines


def explain_losses(summary: LoadSummary) -> list[tuple[str, str]]:
    """What was left out or became NULL, and how much of it: (what, how much or why)."""
    lines = []
    for name, table in summary.tables.items():
        lines += [(f"{name}: rejected, {reason}", f"{n:,} rows") for reason, n in table.rejected.items()]
        lines += [(f"{name}: NULL, {reason}", f"{n:,} values") for reason, n in table.nulled.items()]
        lines += [(f"{name}: no column {column}", f"NULL in {n:,} files") for column, n in table.absent.items()]
        lines += [(f"{name}: cannot be read, {path}", fault) for path, fault in table.bad_files.items()]
    lines += [("left out: a file with the same content is loaded", path) for path in summary.copies]
    if (found := summary.matches) and (n_without := found.n_memberships - found.n_with_features):
        lines.append(("playlists: no features of the track, ignored in training", f"{n_without:,} rows"))
    return lines
