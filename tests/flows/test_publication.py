"""What is published and what is not, by real runs; events are asked for over the server's API."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from sklearn.linear_model import LogisticRegression

from flows.experiment import Experiment
from tasks.artifacts import escape_markdown, summarize_run
from tasks.findings import read_findings
from tasks.local_files import LocalFiles
from tasks.manifest import Manifest
from tasks.parameters import EvaluationParameters, FeatureParameters, PublicationParameters, TrainingParameters
from tasks.publish import EVENT, publish_by_hand
from tasks.runs import RunFailedError
from tasks.storage import Storage
from tests.browser import open_page
from tests.conftest import ROOT, RunFlow, computed, manifest_of, small_options

Json = dict[str, Any]

NOTEBOOK = {"features": FeatureParameters(recipe="notebook")}  # clearly worse
OTHER_C = {"training": TrainingParameters(batch_size=8, regularization=(0.5,))}  # about as good
FEWER_ROWS = {"training": TrainingParameters(batch_size=8, n_negatives=400)}
ALWAYS, NEVER = ({"publication": PublicationParameters(publish=word)} for word in ("always", "never"))


def champion(storage: Path) -> Json:
    found: Json = json.loads((storage / "champion.json").read_text())
    return found


def report(storage: Path, manifest: Json) -> str:
    return " ".join((storage / manifest["folder"] / "report.html").read_text().split())


def events(server: dict[str, str], storage: Path, last: str) -> list[str]:
    """The runs that were announced for a storage, oldest first; waits for that of the run `last`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        about = {"event": {"name": [EVENT]}, "resource": {"labels": {"storage": [str(storage)]}}, "order": "ASC"}
        answer = httpx.post(f"{server['PREFECT_API_URL']}/events/filter", json={"filter": about}, timeout=30)
        found = [event["payload"]["run"] for event in answer.raise_for_status().json()["events"]]
        if last in found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"no event for {last}")


def test_the_first_run_is_published_with_models_of_all_memberships(reference: Path) -> None:
    manifest, pointer = manifest_of(reference), champion(reference)
    assert pointer["current"] | {"published": ""} == {
        "run": manifest["folder"],
        "run_id": manifest["run_id"],
        "published": "",
        "decision": manifest["decision"],
    }
    assert pointer["history"] == []
    assert manifest["decision"]["sentence"] == "Published as the first run of this storage."
    served, files = manifest["served"], manifest["files"]
    assert served["fold"] == "all"
    assert served["models"] == files["train_batch_all"]
    assert served["features"]["file"] == files["build_features_all"][0]
    outer = {file["path"] for file in files["train_batch_outer"]}
    assert not outer & {file["path"] for file in served["models"]}
    for file in served["models"]:
        models = pq.read_table(reference / file["path"]).to_pandas()
        assert (models["n_positives"] == models["n_tracks"]).all()
    assert manifest["tasks"]["count_models"]["computed"] == 1


def test_the_refit_is_a_direct_fit_on_all_memberships(storage: Path, run_flow: RunFlow) -> None:
    """Without columns of a playlist's own, scikit-learn on every track and every membership gives the same models."""
    served = run_flow(storage, **NOTEBOOK, **ALWAYS)["served"]
    X = pq.read_table(storage / served["features"]["file"]["path"]).to_pandas().to_numpy(np.float64)
    assert (X.min(axis=0) == 0).all() and (X.max(axis=0) == 1).all()  # constants of all tracks, not of a train part
    batch = pd.read_parquet(storage / served["preparation"]["batches"][1]["path"])
    models = pd.read_parquet(storage / served["models"][1]["path"]).set_index("playlist_id")
    assert set(batch["fold"]) == {0, 1, 2}
    for playlist_id, rows in list(batch.groupby("playlist_id"))[:3]:
        y = np.isin(np.arange(len(X)), rows["track"])
        direct = LogisticRegression(C=1.0, solver="newton-cholesky", tol=1e-10).fit(X, y)
        assert np.abs(direct.coef_[0] - models.loc[playlist_id, "coefficients"]).max() < 1e-3
        assert direct.intercept_[0] == pytest.approx(models.loc[playlist_id, "intercept"], abs=1e-3)


def test_an_unchanged_run_is_not_published_again(server: dict[str, str], storage: Path, run_flow: RunFlow) -> None:
    before = (storage / "champion.json").read_bytes()
    first = champion(storage)["current"]["run"]
    manifest = run_flow(storage)
    assert computed(manifest) == {}
    assert manifest["decision"]["verdict"] == "unchanged"
    assert manifest["decision"]["sentence"] == f"Unchanged: {first} is published, with the same models."
    assert (storage / "champion.json").read_bytes() == before
    judged_elsewhere = run_flow(storage, evaluation=EvaluationParameters(n_playlists=8))
    assert judged_elsewhere["decision"]["verdict"] == "unchanged"
    next_one = run_flow(storage, **OTHER_C)
    assert events(server, storage, next_one["folder"]) == [next_one["folder"]]
    assert [past["run"] for past in champion(storage)["history"]] == [first]


def test_a_lost_file_of_the_champion_heals_though_nothing_changed(storage: Path, run_flow: RunFlow) -> None:
    lost = storage / manifest_of(storage)["served"]["models"][1]["path"]
    lost.unlink()
    manifest = run_flow(storage)
    assert computed(manifest) == {"train_batch_all": 1}
    assert manifest["decision"]["verdict"] == "unchanged"
    assert lost.exists()


def test_a_losing_challenger_does_not_move_the_pointer(storage: Path, run_flow: RunFlow) -> None:
    before, rival = (storage / "champion.json").read_bytes(), champion(storage)["current"]["run"]
    manifest = run_flow(storage, **NOTEBOOK)
    assert manifest["status"] == "completed"
    assert (storage / "champion.json").read_bytes() == before
    assert not {"train_batch_all", "build_features_all"} & set(manifest["tasks"])
    assert (manifest["served"]["fold"], manifest["served"]["models"]) == (
        "outer",
        manifest["files"]["train_batch_outer"],
    )
    decision, figures = manifest["decision"], manifest["decision"]["figures"]
    assert (decision["verdict"], decision["champion"]) == ("keep", rival)
    means = {name: part["ndcg_at_500"]["mean"] for name, part in manifest["metrics"].items()}
    assert figures["lift"] == pytest.approx(means["model"] - means["same_artist_album"])
    assert figures["difference"] == pytest.approx(figures["lift"] - figures["champion_lift"])
    assert figures["low"] < figures["difference"] < figures["high"] < 0
    assert figures["n_playlists"] == figures["champion_n_playlists"] == figures["n_common"] == 24
    text = report(storage, manifest)
    assert decision["sentence"].startswith(f"Not published: worse than {rival}. Its models gain ")
    assert decision["sentence"].replace("'", "&#39;") in text
    for name in ("lift", "champion_lift", "difference", "low", "high"):
        assert f"{figures[name]:+.4f}" in text
    model = Manifest.model_validate_json(json.dumps(manifest))
    summary = summarize_run(model, read_findings(model, Storage(str(storage))))
    assert escape_markdown(decision["sentence"]) in summary


def test_what_was_asked_for_comes_before_the_comparison(storage: Path, run_flow: RunFlow) -> None:
    first = champion(storage)["current"]["run"]
    kept = run_flow(storage, **OTHER_C, **NEVER)
    assert kept["decision"]["sentence"] == "Not published, as asked for (publication.publish = never)."
    assert champion(storage)["current"]["run"] == first
    tolerated = run_flow(storage, **NOTEBOOK, publication=PublicationParameters(tolerance=0.9))
    assert tolerated["decision"]["sentence"].startswith(f"Published: not worse than {first}.")
    withdrawn = run_flow(storage)
    assert f"its models are those of {first}, which was champion before" in withdrawn["decision"]["sentence"]
    better = run_flow(storage, **OTHER_C)
    assert better["decision"]["figures"]["low"] > 0
    forced = run_flow(storage, **NOTEBOOK, **ALWAYS)
    assert forced["decision"]["sentence"].startswith(
        f"Published: worse than {better['folder']}, but published as asked for."
    )
    assert [champion(storage)["current"]["run"], *(past["run"] for past in champion(storage)["history"])] == [
        forced["folder"],
        better["folder"],
        tolerated["folder"],
        first,
    ]


def test_without_a_refit_the_evaluated_models_are_published(storage: Path, run_flow: RunFlow) -> None:
    manifest = run_flow(storage, training=TrainingParameters(batch_size=8, refit=False))
    assert manifest["decision"]["verdict"] == "publish"  # the champion's were trained on more
    assert manifest["decision"]["figures"]["difference"] == 0
    assert (manifest["served"]["fold"], manifest["served"]["models"]) == (
        "outer",
        manifest["files"]["train_batch_outer"],
    )
    assert champion(storage)["current"]["run"] == manifest["folder"]
    assert not {"train_batch_all", "build_features_all"} & set(manifest["tasks"])


KILLED = """
import os, signal
from tasks.local_files import LocalFiles
LocalFiles.replace = lambda *arguments: os.kill(os.getpid(), signal.SIGKILL)
from flows.train_playlists import run_command, train_playlists
run_command(train_playlists)
"""


def test_killed_before_the_pointer_moved_the_next_run_is_published(
    server: dict[str, str], storage: Path, run_flow: RunFlow
) -> None:
    (storage / "champion.json").unlink()
    finished = set(storage.glob("runs/*/manifest.json"))
    command = [sys.executable, "-c", KILLED, "--storage", str(storage), *small_options()]
    done = subprocess.run(command, cwd=ROOT, env=dict(server) | {"PATH": ""}, capture_output=True, timeout=120)
    assert done.returncode == -signal.SIGKILL, done.stderr
    (path,) = set(storage.glob("runs/*/manifest.json")) - finished
    killed = json.loads(path.read_text())
    assert (killed["status"], killed["decision"]["verdict"]) == ("completed", "publish")
    assert (path.parent / "report.html").exists()
    assert not (storage / "champion.json").exists()
    manifest = run_flow(storage)
    assert computed(manifest) == {}
    assert manifest["decision"]["verdict"] == "publish"
    assert champion(storage)["current"]["run"] == manifest["folder"]
    assert events(server, storage, manifest["folder"]) == [manifest["folder"]]


def overtake(monkeypatch: pytest.MonkeyPatch, storage: Path, run: str) -> None:
    """Another publisher is faster: it moves the pointer just before the next run would."""
    replace = LocalFiles.replace

    def overtaken(self: LocalFiles, *arguments: Any) -> None:
        monkeypatch.setattr(LocalFiles, "replace", replace)
        publish_by_hand(str(storage), run)
        replace(self, *arguments)

    monkeypatch.setattr(LocalFiles, "replace", overtaken)


def test_a_run_that_was_overtaken_is_judged_against_the_new_champion(
    storage: Path, run_flow: RunFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    good, bad = champion(storage)["current"]["run"], run_flow(storage, **NOTEBOOK)["folder"]
    overtake(monkeypatch, storage, bad)
    published = run_flow(storage, **OTHER_C)
    assert (published["decision"]["verdict"], published["decision"]["champion"]) == ("publish", bad)
    assert bad in report(storage, published)
    assert [past["run"] for past in champion(storage)["history"]] == [bad, good]

    publish_by_hand(str(storage), bad)
    overtake(monkeypatch, storage, good)
    kept = run_flow(storage, **NOTEBOOK, **FEWER_ROWS)
    assert (kept["decision"]["verdict"], kept["decision"]["champion"]) == ("keep", good)
    assert "Not published: worse than" in report(storage, kept)
    assert champion(storage)["current"]["run"] == good


def test_a_failed_run_is_never_published(storage: Path, run_flow: RunFlow, monkeypatch: pytest.MonkeyPatch) -> None:
    before = (storage / "champion.json").read_bytes()

    def full(*arguments: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(LocalFiles, "replace", full)
    manifest = run_flow(storage, **OTHER_C)
    assert "the run cannot be published: [Errno 28] No space left on device" in manifest["message"]
    assert (manifest["status"], manifest["decision"]) == ("failed", None)
    assert (storage / "champion.json").read_bytes() == before
    assert "No: a failed run is never published." in report(storage, manifest)
    monkeypatch.undo()
    again = run_flow(storage, **OTHER_C)
    assert computed(again) == {}
    assert champion(storage)["current"]["run"] == again["folder"]


def test_a_run_whose_refit_fails_is_not_published(
    storage: Path, run_flow: RunFlow, monkeypatch: pytest.MonkeyPatch
) -> None:
    before, fit = (storage / "champion.json").read_bytes(), Experiment.fit

    def fail(self: Experiment, fold: Any, C: float) -> Any:
        if fold == "all":
            raise RunFailedError("planted.")
        return fit(self, fold, C)

    monkeypatch.setattr(Experiment, "fit", fail)
    manifest = run_flow(storage, **OTHER_C)
    assert manifest["tasks"]["decide_publication"]["computed"] == 1
    assert (manifest["status"], manifest["message"], manifest["decision"]) == ("failed", "planted.", None)
    assert "No: a failed run is never published." in report(storage, manifest)
    assert (storage / "champion.json").read_bytes() == before


def test_a_damaged_pointer_fails_the_run_and_stays_as_it_is(storage: Path, run_flow: RunFlow) -> None:
    (storage / "champion.json").write_text('{"current": null}')
    manifest = run_flow(storage)
    assert manifest["status"] == "failed"
    assert manifest["message"].startswith(f"champion.json of storage {str(storage)!r} is damaged (current: ")
    assert (storage / "champion.json").read_text() == '{"current": null}'
    assert run_flow(storage, **NEVER)["status"] == "completed"


def test_a_champion_that_is_gone_keeps_its_place_and_a_hostile_name_is_text(
    reference: Path, run_flow: RunFlow, tmp_path: Path
) -> None:
    storage = Path(shutil.copytree(reference, tmp_path / "<img src=x onerror=alert(1)> **b** [l](javascript:1)"))
    shutil.rmtree(storage / manifest_of(storage)["folder"])
    manifest = run_flow(storage, **OTHER_C)
    assert manifest["decision"]["verdict"] == "keep"
    assert "it was deleted, or never ended" in manifest["decision"]["sentence"]
    page = open_page(storage / manifest["folder"] / "report.html")
    assert page.console == []
    assert "cannot be compared with" in page.text() and "<img src=x" in page.text()
    assert 'onerror="' not in page.dom
    model = Manifest.model_validate_json(json.dumps(manifest))
    text = summarize_run(model, read_findings(model, Storage(str(storage))))
    assert "<img" not in text and "](javascript" not in text and "**b**" not in text
    forced = run_flow(storage, **OTHER_C, **ALWAYS)
    assert champion(storage)["current"]["run"] == forced["folder"]
