"""What --playlist shows, and what a run says of itself."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from tasks.explain_playlist import explain_playlist
from tasks.ml.contributions import SOURCES
from tasks.past_runs import find_models
from tasks.storage import Storage
from tests.conftest import manifest_of


def test_contributions_add_up_to_the_score(reference: Path) -> None:
    """Up to what is the same for all tracks of a playlist, those inside included: the score of an average track."""
    run = find_models(Storage(str(reference)), "latest")
    first = pd.read_parquet(reference / run.served.models[0].path)["playlist_id"][0]
    explained = explain_playlist(str(reference), run, first, 50)
    shown = explained.recommended + explained.inside
    rest = [track.score - sum(track.why[source] for source in SOURCES) for track in shown]
    assert rest == pytest.approx([rest[0]] * len(rest), abs=1e-6)
    assert len({track.score for track in shown}) > 10


def test_the_manifest_of_the_reference_lists_its_records(reference: Path) -> None:
    manifest = manifest_of(reference)
    assert sorted(manifest["records"]) == manifest["records"]
    assert set(manifest["records"]) == {path.name for path in reference.glob("records/*-*") if path.is_file()}
    started = json.loads((reference / manifest["folder"] / "started.json").read_text())
    assert started["run_id"] == manifest["run_id"] and started["flow"] == "train-playlists"
