"""What Prefect's server shows of a run, asked for over its API."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.conftest import manifest_of


@pytest.fixture
def api(server: dict[str, str]) -> httpx.Client:
    return httpx.Client(base_url=server["PREFECT_API_URL"], timeout=30)


def ask(api: httpx.Client, kind: str, run_id: str) -> list[dict[str, Any]]:
    answer = api.post(f"/{kind}/filter", json={"flow_runs": {"id": {"any_": [run_id]}}, "limit": 200})
    answer.raise_for_status()
    found: list[dict[str, Any]] = answer.json()
    return found


def test_a_run_leaves_a_progress_a_table_and_a_summary(api: httpx.Client, reference: Path) -> None:
    artifacts = {artifact["key"]: artifact for artifact in ask(api, "artifacts", manifest_of(reference)["run_id"])}
    assert artifacts.keys() == {"progress", "playlists", "summary"}
    assert float(artifacts["progress"]["data"]) == 100.0
    rows = json.loads(artifacts["playlists"]["data"])
    assert len(rows) == 24
    assert {"playlist_id", "status", "ndcg_at_500"} <= rows[0].keys()
    assert [row["ndcg_at_500"] for row in rows] == sorted((row["ndcg_at_500"] for row in rows), reverse=True)
    assert "](data:image/png;base64," in artifacts["summary"]["data"]
    assert "same artist album" in artifacts["summary"]["data"]


def test_every_task_run_has_a_name_and_says_why_it_was_computed(api: httpx.Client, reference: Path) -> None:
    runs = ask(api, "task_runs", manifest_of(reference)["run_id"])
    names = {run["name"] for run in runs}
    assert {"extract memberships", "train batch 2 (outer)", "evaluate batch 0", "summarize"} <= names
    assert {run["state"]["type"] for run in runs} == {"COMPLETED"}
    assert {run["state"]["message"] for run in runs if run["name"].startswith("train")} == {"new"}


def test_the_graph_of_a_run_has_its_edges(api: httpx.Client, reference: Path) -> None:
    runs = {run["name"]: run for run in ask(api, "task_runs", manifest_of(reference)["run_id"])}
    upstream = {
        one["id"] for inputs in runs["evaluate batch 1"]["task_inputs"].values() for one in inputs if "id" in one
    }
    assert {runs[name]["id"] for name in ("train batch 1 (outer)", "build features (outer)")} <= upstream
