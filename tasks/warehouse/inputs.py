"""The files that a person wants loaded: found by folder, pattern or name. Knows nothing of Prefect."""

from __future__ import annotations

import glob
import hashlib
from pathlib import Path

from tasks.errors import InputError
from tasks.warehouse.local_paths import check_name, expand

PATTERNS = {"slice": "mpd.slice.*.json", "parquet": "*.parquet", "csv": "*.csv", "tsv": "*.tsv"}
SUFFIXES = {".json": "slice", ".parquet": "parquet", ".csv": "csv", ".tsv": "tsv"}


def find_files(option: str, given: str, *, forms: tuple[str, ...]) -> list[tuple[Path, str]]:
    """The files that `given` names, sorted, each with its form (slice, parquet, csv or tsv).

    given: a file; a folder, of which only the slices count if there are some; or a pattern such as `parts/*.csv`.
    option: what to call it in an error. Raises InputError if nothing is there, or more than one form, or one that is
    not in `forms`, or a name that is not UTF-8.
    """
    if not given or "://" in given:
        raise InputError(f"{option} {given!r} is no local file, folder or pattern: give one.")
    path = expand(option, given)
    if path.is_dir():
        by_form = {form: list(path.glob(PATTERNS[form])) for form in forms}
        found = by_form.get("slice") or [file for files in by_form.values() for file in files]
    else:
        found = [path] if path.is_file() else [Path(name) for name in glob.glob(str(path))]  # noqa: PTH207  # absolute too
    files = sorted(file for file in found if file.is_file() and not file.name.startswith("."))
    wanted = ", ".join(PATTERNS[form] for form in forms)
    if not files:
        raise InputError(f"{option} {given!r} has no files to load (seen from {Path.cwd()}): give {wanted}.")
    with_forms = [(file, SUFFIXES.get(file.suffix.lower(), "")) for file in files]
    for file, form in with_forms:
        check_name(option, str(file))
        if form not in forms:
            raise InputError(f"{option}: {str(file)!r} cannot be loaded: give {wanted}.")
    if len({form for _, form in with_forms}) > 1:
        raise InputError(f"{option} {given!r} has files of several forms: give a pattern for one, such as 'DIR/*.csv'.")
    return with_forms


def hash_file(path: Path) -> str:
    """The sha256 of a file's content; raises InputError if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, "sha256").hexdigest()
    except OSError as error:
        raise InputError(
            f"{str(path)!r} cannot be read ({error.strerror or error}): correct the permissions."
        ) from error
