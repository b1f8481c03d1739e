"""What travels between the tasks that load files."""

from __future__ import annotations

from typing import Literal

from tasks.references import FileRef, Hex, Reference


class InputFile(Reference):
    """A file that a person gives to be loaded: it counts by its content.

    path: local. form: slice (of the Million Playlist Dataset), csv, tsv or parquet.
    """

    path: str
    form: Literal["slice", "csv", "tsv", "parquet"]
    size: int
    sha256: Hex


class InputFiles(Reference):
    """What there is to load now, each content once; copies: files left out because another one is the same."""

    kind: Literal["input_files"] = "input_files"
    playlists: list[InputFile]
    tracks: list[InputFile]
    copies: list[str]


class LoadedPart(Reference):
    """What became of one input file.

    file: its good rows in the contract's schema, None if the file cannot be read: fault says why. n_rows: rows given,
    those among `rejected` (by reason) included. nulled: values that became NULL, by reason. absent: columns that the
    file does not have.
    """

    kind: Literal["loaded_part"] = "loaded_part"
    file: FileRef | None
    fault: str
    n_rows: int
    rejected: dict[str, int]
    nulled: dict[str, int]
    absent: list[str]


class Matches(Reference):
    """How many loaded memberships there are, and of how many the track has a row of features."""

    kind: Literal["matches"] = "matches"
    n_memberships: int
    n_with_features: int
