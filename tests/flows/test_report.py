"""The report in a real browser: what it must say, and that hostile names are only names."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from tasks.artifacts import escape_markdown, summarize_run
from tasks.findings import read_findings
from tasks.manifest import Manifest
from tasks.parameters import FeatureParameters, SampleParameters, TrainingParameters
from tasks.storage import Storage
from tests.browser import Page, open_page, widths
from tests.conftest import RunFlow, computed, manifest_of
from tests.warehouses import Row, member, track, varied_tracks, write

ATTACK = "document.title='attacked';console.error('attacked');alert(1)"
HOSTILE = [
    f"<script>{ATTACK}</script>",
    f'"><img src=x onerror="{ATTACK}">',
    f"' onmouseover='{ATTACK}' autofocus onfocus='{ATTACK}",
    f"</details></style></title><svg onload={ATTACK}>",
    "two\nlines\r\nand a\ttab",
    "🎧 👩‍👩‍👧 \u202eright to left",
    "a | b | `code` **bold** [link](javascript:alert(1))",
    "{{ manifest }} {% raw %} ${1} %s &amp; &lt;b&gt;",
    "one-very-long-word-" * 12,
    f"<a href=javascript:{ATTACK}>x</a><iframe srcdoc='<script>{ATTACK}</script>'>",
]


def hostile_source(folder: Path) -> str:
    """Every playlist, track, artist and album has a hostile name; the second of two tracks lacks artist and name."""
    rows: list[Row] = []
    tracks = [
        track(f"{i}{HOSTILE[i % 10]}") | {k: v for k, v in row.items() if k != "trackid"}
        for i, row in enumerate(varied_tracks(60))
    ]
    for j, name in enumerate(HOSTILE):
        for i in range(4 * j, 4 * j + 20):
            artist, album = HOSTILE[(i + 1) % 10], HOSTILE[(i + 3) % 10]
            title = None if i == 21 else f"{HOSTILE[(i + 2) % 10]} {i}"
            rows.append(
                member(f"{name} {j}", tracks[i]["trackid"], artist=None if i == 21 else artist, name=title, album=album)
            )
    return write(folder, rows, tracks)


@pytest.fixture(scope="module")
def hostile(run_flow: RunFlow, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The storage of a run on the hostile source."""
    folder = tmp_path_factory.mktemp("hostile")
    manifest = run_flow(folder / "storage", source=hostile_source(folder / "source"))
    assert manifest["status"] == "completed", manifest["message"]
    return folder / "storage"


def report_of(storage: Path) -> Path:
    (path,) = storage.glob("runs/*/report.html")
    return path


@pytest.fixture(scope="module")
def page(hostile: Path) -> Page:
    return open_page(report_of(hostile))


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_the_browser_reports_a_console_error_and_a_script_that_ran(tmp_path: Path) -> None:
    """Without this, the next test could not fail."""
    (tmp_path / "page.html").write_text(f"<title>as written</title>{HOSTILE[0].replace(';alert(1)', '')}")
    page = open_page(tmp_path / "page.html")
    assert any("attacked" in line for line in page.console)
    assert "<title>attacked</title>" in page.dom


def test_hostile_names_are_text_and_nothing_else(page: Page) -> None:
    assert page.console == []
    assert "<title>Playlist models: train up to 24 playlists, seed 7</title>" in page.dom
    assert not page.tags() & {"script", "svg", "iframe", "b", "object", "embed"}
    assert not re.search(r"<[^>]*\son\w+\s*=", re.sub(r'"[^"]*"', '""', page.dom))
    assert set(re.findall(r'<a [^>]*href="([^"#]*)', page.dom)) == {""}
    text = page.text()
    for j, name in enumerate(HOSTILE):
        assert one_line(f"{name} {j}") in text, name  # the playlist
        assert one_line(name) + " - " in text, name  # the artist
        assert re.search(re.escape(" - " + one_line(name)) + r" \d", text), name  # the track


def test_the_page_allows_no_script_even_if_one_came_in(hostile: Path, tmp_path: Path) -> None:
    text = report_of(hostile).read_text()
    (tmp_path / "page.html").write_text(text.replace("<header>", f"<header>{HOSTILE[0]}"))
    page = open_page(tmp_path / "page.html")
    assert "<title>attacked</title>" not in page.dom
    assert any("Content Security Policy" in line for line in page.console)


@pytest.mark.parametrize("name", ["hostile", "reference"])
def test_a_phone_need_not_scroll_sideways(name: str, request: pytest.FixtureRequest, tmp_path: Path) -> None:
    content, view = widths(report_of(request.getfixturevalue(name)), 390, tmp_path)
    assert content <= view == 390


def test_the_page_loads_nothing(hostile: Path) -> None:
    text = report_of(hostile).read_text()
    sources = re.findall(r'(?:src|href)="([^"]*)"', text)
    assert {source.split(",")[0].split("#")[0] for source in sources} == {"data:image/svg+xml;base64", "data:", ""}
    assert "@import" not in text and "url(" not in text


def test_the_report_says_what_ran_and_what_came_out(reference: Path) -> None:
    manifest, text = manifest_of(reference), one_line(open_page(report_of(reference)).text())
    (seconds,) = re.findall(r" UTC · ([\d.]+) s · ", text)
    assert 0 < float(seconds) <= manifest["seconds"] + 0.05
    for recommender in ("model", "same_artist_album", "item_knn", "popularity"):
        for metric in ("ndcg_at_500", "cold_ndcg_at_500", "warm_ndcg_at_500"):
            assert f"{manifest['metrics'][recommender][metric]['mean']:.3f}" in text
    for subset in ("", "cold_", "warm_"):
        assert f"{manifest['metrics']['model'][f'{subset}n_candidates']['median']:,.0f}" in text
    for group, values in manifest["parameters"].items():
        for name in values:
            assert f"{group}.{name}" in text
    for part in (*manifest["snapshot"].values(), *manifest["library_versions"], *manifest["blas"], manifest["source"]):
        assert part in text
    assert "time signature no value in any train track" in text
    assert f"Brier score {manifest['explanation']['brier']:.5f}" in text
    assert "The 12 best" in text and "The 12 worst" in text
    assert "24 trained" in text


def test_a_run_that_could_not_read_its_source_has_a_report(run_flow: RunFlow, tmp_path: Path) -> None:
    manifest = run_flow(tmp_path / "storage", source=str(tmp_path / "<b>nothing</b>"))
    page = open_page(report_of(tmp_path / "storage"))
    assert page.console == []
    text = page.text()
    assert "This run failed" in text and one_line(manifest["message"]) in text
    assert "Not available: no batch was evaluated." in text and "The source was not read." in text


def test_a_choice_of_c_is_shown_with_the_quality_of_each(run_flow: RunFlow, tmp_path: Path) -> None:
    training = TrainingParameters(batch_size=8, regularization=(0.1, 1.0))
    manifest = run_flow(tmp_path, training=training)
    text = open_page(report_of(tmp_path)).text()
    assert f"C = {manifest['regularization']['chosen']} was chosen" in text
    for C, quality in manifest["regularization"]["quality"].items():
        assert f"{C} {quality:.4f}" in text


def test_playlists_without_a_model_are_counted_by_reason(run_flow: RunFlow, tmp_path: Path) -> None:
    rows = [member(f"p{j}", f"t{i:04}") for j in range(3) for i in range(j, j + 1)]
    rows += [member("all", f"t{i:04}") for i in range(30)]
    source = write(tmp_path / "source", rows, varied_tracks(30))
    sample = SampleParameters(n_playlists=9, min_tracks=1)
    manifest = run_flow(tmp_path / "storage", source=source, sample=sample)
    assert manifest["status"] == "completed", manifest["message"]
    text = open_page(report_of(tmp_path / "storage")).text()
    assert "too few 3 1 train tracks, 2 are needed" in text
    assert "one class 1 no negative is left" in text


def test_examples_are_what_the_metrics_say(reference: Path) -> None:
    manifest = manifest_of(reference)
    examples = pd.read_parquet(reference / manifest["explanation"]["examples"]["path"])
    metrics = pd.read_parquet(reference / manifest["files"]["summarize"][1]["path"])
    model = metrics[metrics["recommender"] == "model"].set_index("playlist_id")
    shown = examples.drop_duplicates("playlist_id")
    assert shown.groupby("group").size().to_dict() == {"best": 12, "worst": 12}
    quality = {name: model.loc[part["playlist_id"], "ndcg_at_500"] for name, part in shown.groupby("group")}
    assert quality["best"].is_monotonic_decreasing and quality["worst"].is_monotonic_increasing
    assert quality["best"].min() >= quality["worst"].max()
    memberships = pd.read_parquet(reference / manifest["files"]["extract_memberships"][0]["path"])
    members = set(zip(memberships["playlist_id"], memberships["track_id"], strict=True))
    for row in examples.itertuples():
        assert ((row.playlist_id, row.track_id) in members) == (row.role != "added")
    first = examples[(examples["role"] != "train") & (examples["rank"] == 1)]
    assert len(first) == 24  # of every playlist somebody is first, held out or added


def test_contributions_cover_the_groups_and_affinity_lifts(reference: Path) -> None:
    contributions = pd.read_parquet(reference / manifest_of(reference)["explanation"]["contributions"]["path"])
    groups = set(contributions["feature_group"])
    assert {"energy", "artist_vector", "album_vector", "artist_n_tracks", "artist_affinity", "album_affinity"} <= groups
    assert contributions.groupby("playlist_id").size().nunique() == 1
    assert (contributions["spread"] >= 0).all()
    assert contributions.groupby("feature_group")["lift"].median()["artist_vector"] > 0


def test_reliability_counts_every_candidate_once_and_brier_is_their_mean(reference: Path) -> None:
    manifest = manifest_of(reference)
    about = manifest["explanation"]
    bins = pd.read_parquet(reference / about["reliability"]["path"])
    metrics = pd.read_parquet(reference / manifest["files"]["summarize"][1]["path"])
    model = metrics[metrics["recommender"] == "model"]
    assert bins["n_candidates"].sum() == model["n_candidates"].sum()
    assert bins["n_held_out"].sum() == model["n_held_out"].sum()
    assert about["brier"] == pytest.approx((model["brier"] * model["n_candidates"]).sum() / model["n_candidates"].sum())
    assert about["base_rate"] == pytest.approx(bins["n_held_out"].sum() / bins["n_candidates"].sum())
    assert metrics.loc[metrics["recommender"] != "model", "brier"].isna().all()


def test_the_short_form_has_two_pictures_that_prefect_shows(hostile: Path) -> None:
    manifest = Manifest.model_validate_json(json.dumps(manifest_of(hostile)))
    text = summarize_run(manifest, read_findings(manifest, Storage(str(hostile))))
    images = re.findall(r"!\[[\w@ ]+\]\(data:image/png;base64,([^)]+)\)", text)
    assert [base64.b64decode(image)[:4] for image in images] == [b"\x89PNG"] * 2
    assert "<" not in text and "| model | 0." in text


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_is_escaped(text: str) -> None:
    escaped = escape_markdown(text)
    assert "\n" not in escaped and "<" not in escaped
    assert not re.search(r"(?<!\\)[`|*\[\]]", escaped)


def test_the_notebooks_recipe_has_a_report_and_no_choice(run_flow: RunFlow, storage: Path) -> None:
    before = set(storage.glob("runs/*/report.html"))
    manifest: dict[str, Any] = run_flow(storage, features=FeatureParameters(recipe="notebook"))
    assert computed(manifest)["explain_models"] == 1
    (path,) = set(storage.glob("runs/*/report.html")) - before
    assert "C = 1, as in the notebook; nothing was chosen." in path.read_text()
