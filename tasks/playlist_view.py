"""One playlist with its recommendations as text: a table for the terminal, and one in Markdown."""

from __future__ import annotations

import io
from collections.abc import Iterator

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

from tasks.artifacts import MAX_ROWS, escape_markdown
from tasks.explain_playlist import ExplainedPlaylist, ShownTrack
from tasks.ml.contributions import SOURCES

WIDTH = 120
NAMES = ("artist", "track")  # these give way where a line is too long
COLUMNS = ["", *NAMES, "score", *(f"by {source}" for source in SOURCES)]
LEGEND = (
    "score: the model's logit. by sound, artist, album, catalogue: what speaks for the track (or, below 0, against it) "
    "compared with an average track."
)


def as_table(playlist: ExplainedPlaylist) -> str:
    """For a terminal: whatever names hold, no markup and no control character of theirs is acted upon."""
    title = Text(_heading(playlist))
    table = Table(
        title=title, title_justify="left", caption=LEGEND, caption_justify="left", box=box.SIMPLE, expand=True
    )
    for name in COLUMNS:
        if name in NAMES:
            table.add_column(name, no_wrap=True, overflow="ellipsis", ratio=1)
        else:
            table.add_column(name, justify="right", width=max(len(name), len("in it")))
    for tracks in (playlist.inside, playlist.recommended):
        for cells in _rows(tracks, is_ranked=tracks is playlist.recommended):
            table.add_row(*(Text(cell) for cell in cells))
        table.add_section()
    text = io.StringIO()
    Console(file=text, width=WIDTH, color_system=None).print(table)
    return text.getvalue().rstrip()


def as_markdown(playlist: ExplainedPlaylist) -> str:
    """For Prefect's UI, which shows MAX_ROWS tracks at most."""
    tracks = [*_rows(playlist.inside, is_ranked=False), *_rows(playlist.recommended, is_ranked=True)][:MAX_ROWS]
    rows = [COLUMNS, ["---"] * len(COLUMNS), *([escape_markdown(cell) for cell in cells] for cells in tracks)]
    lines = "\n".join(f"| {' | '.join(cells)} |" for cells in rows)
    return f"# {escape_markdown(_heading(playlist))}\n\n{lines}\n\n{LEGEND}"


def printable(text: str) -> str:
    """Text on one line, without control characters, which a terminal would obey."""
    return " ".join("".join(one if one.isprintable() else " " for one in text).split())


def _heading(playlist: ExplainedPlaylist) -> str:
    return (
        f"Playlist {printable(playlist.playlist_id)}: {len(playlist.inside)} of its {playlist.n_tracks:,} tracks, and "
        f"{len(playlist.recommended)} that the models of {playlist.models_of} would add"
    )


def _rows(tracks: list[ShownTrack], *, is_ranked: bool) -> Iterator[list[str]]:
    for rank, track in enumerate(tracks, start=1):
        names = [printable(track.artist), printable(track.name)]
        numbers = [f"{track.score:.2f}", *(f"{track.why[source]:+.2f}" for source in SOURCES)]
        yield [str(rank) if is_ranked else "in it", *names, *numbers]
