"""What there is to load, and whether it may be put where it is to go."""

from __future__ import annotations

from prefect import task

from tasks.load_references import InputFile, InputFiles
from tasks.warehouse.destinations import open_destination
from tasks.warehouse.inputs import find_files, hash_file


@task(task_run_name="read inputs", persist_result=False)
def read_inputs(playlists: str, tracks: str, destination: str) -> InputFiles:
    """What there is to load, by content. Never cached: it decides what else is.

    Raises InputError if a file cannot be found or read, or the destination must not be written.
    """
    open_destination(destination).check()
    copies: list[str] = []
    return InputFiles(
        playlists=_identify("--playlists", playlists, ("slice", "parquet", "csv", "tsv"), copies),
        tracks=_identify("--tracks", tracks, ("parquet", "csv", "tsv"), copies),
        copies=copies,
    )


def _identify(option: str, given: str, forms: tuple[str, ...], copies: list[str]) -> list[InputFile]:
    found: dict[str, InputFile] = {}
    for path, form in find_files(option, given, forms=forms):
        file = InputFile.model_validate(
            {"path": str(path), "form": form, "size": path.stat().st_size, "sha256": hash_file(path)}
        )
        if file.sha256 in found:
            copies.append(file.path)
        found.setdefault(file.sha256, file)
    return list(found.values())
