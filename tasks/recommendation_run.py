"""What a run of recommend-tracks leaves behind: its manifest, and examples in Prefect's UI."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from pydantic import Field

from tasks.artifacts import escape_markdown
from tasks.examples import NAMES
from tasks.lifecycle import finish_run
from tasks.manifest import RunManifest
from tasks.ml.statuses import TRAINED
from tasks.references import FileRef, Recommendations, files_in
from tasks.runs import Run
from tasks.storage import Storage

N_PLAYLISTS, N_TRACKS = 100, 5  # shown in Prefect's UI


class RecommendationManifest(RunManifest):
    """One run that recommended tracks.

    models_of: the folder of the run whose models were used; tracks: its tracks file. playlists: how many got
    recommendations ("trained"), and how many none for which reason. rows: recommendations in all.
    """

    models_of: str = ""
    tracks: FileRef | None = None
    playlists: dict[str, int] = Field(default_factory=dict)
    rows: int = 0


def close_recommendations(run: Run, store: Storage, about: dict[str, Any]) -> RecommendationManifest:
    """Leave manifest and artifacts, and say in a line what there is now."""
    manifest = finish_run(run, store, _describe(run, about), _create_artifacts)
    if manifest.models_of:
        run.progress.say(_sentence(manifest))
    return manifest


def _describe(run: Run, about: dict[str, Any]) -> RecommendationManifest:
    found = run.results.get("find_model_run")
    batches: list[Recommendations] = [one for one in run.results.get("recommend_batch", []) if one is not None]
    statuses: Counter[str] = sum((Counter(one.playlists_by_status) for one in batches), Counter())
    return RecommendationManifest(
        **about,
        models_of=found.folder if found else "",
        tracks=found.served.tracks if found else None,
        files={"recommend_batch": files_in(batches)} if batches else {},
        playlists=dict(sorted(statuses.items())),
        rows=sum(one.file.rows for one in batches),
    )


def _sentence(manifest: RecommendationManifest) -> str:
    without = {status: n for status, n in manifest.playlists.items() if status != TRAINED}
    reasons = ", ".join(f"{n:,} {status}" for status, n in without.items())
    return (
        f"{manifest.rows:,} recommendations for {manifest.playlists.get(TRAINED, 0):,} playlists from "
        f"{manifest.models_of}; without a model: {reasons or 'none'}"
    )


def _create_artifacts(manifest: RecommendationManifest, store: Storage) -> None:
    lines = [f"# {manifest.status}", escape_markdown(manifest.message)]
    lines += [escape_markdown(_sentence(manifest))] if manifest.models_of else []
    create_markdown_artifact("\n\n".join(filter(None, lines)), key="recommendations", description="What this run did")
    if manifest.status == "completed" and (rows := _examples(manifest, store)):
        create_table_artifact(rows, key="recommended-tracks", description="The first tracks of some playlists")


def _examples(manifest: RecommendationManifest, store: Storage) -> list[dict[str, Any]]:
    """The first N_TRACKS recommendations of about N_PLAYLISTS playlists, with names."""
    files = [file for file in manifest.files.get("recommend_batch", []) if file.rows]
    if not files or manifest.tracks is None:
        return []
    n_of_each = math.ceil(N_PLAYLISTS / len(files))
    rows = [row for file in files[:N_PLAYLISTS] for row in _first_rows(store, file, n_of_each * N_TRACKS)]
    track_ids = sorted({row["track_id"] for row in rows})
    named = store.read_rows(manifest.tracks, "track_id", track_ids).select(NAMES).to_pylist()
    names = {row["track_id"]: row for row in named}
    return [row | names[row["track_id"]] | {"score": round(row["score"], 3)} for row in rows]


def _first_rows(store: Storage, file: FileRef, n: int) -> Iterator[dict[str, Any]]:
    """At most n rows of rank N_TRACKS or better, from the beginning of a file."""
    with store.open_parquet(file) as parquet:
        table = pa.Table.from_batches([next(parquet.iter_batches(use_threads=False))])
    yield from table.filter(pc.less_equal(table["rank"], N_TRACKS)).slice(0, n).to_pylist()
