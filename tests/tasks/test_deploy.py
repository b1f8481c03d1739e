"""Wrong files and missing servers are one sentence; what deploying does is in tests/integration/test_deployments.py."""

from __future__ import annotations

import http.server
import threading
from pathlib import Path
from typing import Any

import pytest

from tasks.deploy import AUTOMATIONS, check_automation, deploy_flows, read_automations
from tasks.errors import InputError
from tests.conftest import ROOT
from tests.integration.platform import deploy


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "notaurl"])
def test_without_a_server_nothing_is_tried(url: str) -> None:
    done = deploy({"PREFECT_API_URL": url})
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == (
        f"no Prefect server answers at PREFECT_API_URL={url}: start one (make server) or correct the address (it ends "
        "in /api).\n"
    )


class Failing(http.server.BaseHTTPRequestHandler):
    """A server that says it is well, and fails, or hangs up, at everything else."""

    status: int | None = 500

    def do_GET(self) -> None:
        is_health = self.path == "/api/health"
        if self.status is None and not is_health:
            self.close_connection = True
            return
        self.send_response(200 if is_health else self.status or 0)
        self.end_headers()
        self.wfile.write(b"true" if is_health else b"database is locked")

    def log_message(self, *arguments: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "said"),
    [
        (500, "fails (500 Internal Server Error: database is locked)"),
        (
            None,
            "stopped answering (Server disconnected without sending a response.)",
        ),
    ],
    ids=["error", "hangs up"],
)
def test_a_server_that_fails_is_one_sentence(status: int | None, said: str) -> None:
    handler = type("Handler", (Failing,), {"status": status})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as failing:
        threading.Thread(target=failing.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{failing.server_port}/api"
        done = deploy({"PREFECT_API_URL": url, "PREFECT_CLIENT_MAX_RETRIES": "0"})
        failing.shutdown()
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"the Prefect server at {url} {said}: see its log, and make deploy again.\n"


def test_deployments_that_take_too_long_are_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tasks.deploy.DEPLOY_SECONDS", 0.01)
    with pytest.raises(InputError, match=r"prefect\.yaml was not deployed within 0\.01 s: see the server's log"):
        deploy_flows()


def valid(**changes: Any) -> dict[str, Any]:
    trigger = {"type": "event", "posture": "Reactive", "expect": ["a"], "threshold": 1, "within": 0}
    return {"name": "n", "trigger": trigger, "actions": [{"type": "do-nothing"}]} | changes


def action(kind: str, **fields: Any) -> dict[str, Any]:
    return {"type": kind} | fields


def compound(*triggers: dict[str, Any]) -> dict[str, Any]:
    return {"type": "compound", "require": "all", "within": 60, "triggers": list(triggers)}


@pytest.mark.parametrize(
    "entry",
    [
        valid(),
        valid(trigger=compound(valid()["trigger"], valid()["trigger"] | {"match": {"any": "label"}})),
        valid(actions=[action("run-deployment", source="inferred", parameters={"any": {"thing": 1}})]),
    ],
    ids=["simple", "compound", "parameters"],
)
def test_a_valid_automation_passes(entry: dict[str, Any]) -> None:
    assert check_automation(entry).name == "n"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (valid(enable=True), "automation 'n' has unknown fields: enable."),
        (valid(trigger=valid()["trigger"] | {"expct": []}), "automation 'n' has unknown fields: trigger.expct."),
        (
            valid(actions=[valid()["actions"][0], action("change-flow-run-state", state="CRASHED", mesage="m")]),
            "actions.1.mesage.",
        ),
        (valid(actions=[action("run-deployment", source="inferred", paramters={})]), "actions.0.paramters."),
        (valid(trigger=compound(valid()["trigger"] | {"expct": []})), "unknown fields: trigger.triggers.0.expct."),
        (
            valid(trigger=valid()["trigger"] | {"threshold": "x"}),
            "trigger.event.threshold: Input should",
        ),
        (
            valid(trigger=valid()["trigger"] | {"posture": "Proactive", "within": 5}),
            "greater than or equal to 10",
        ),
    ],
    ids=["field", "field of the trigger", "field of an action", "another", "nested trigger", "value", "too impatient"],
)
def test_a_wrong_automation_is_one_sentence(entry: dict[str, Any], said: str) -> None:
    """Prefect drops an unknown field silently: the automation would be another one than is written."""
    with pytest.raises(InputError) as raised:
        check_automation(entry)
    assert said in str(raised.value)


ODD_ACTIONS = [f"automations: [{{name: n, trigger: {{}}, actions: {actions}}}]" for actions in ("", "[3]", "[abc]")]


@pytest.mark.parametrize(
    "text", ["", "automations: [", "other: 1", "automations: [{name: n, trigger: {}}]", *ODD_ACTIONS]
)
def test_a_file_without_automations_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "automations.yaml").write_text(text)
    with pytest.raises(InputError, match=r"automations\.yaml does not list automations"):
        read_automations(tmp_path / "automations.yaml")


def test_names_of_automations_are_unique() -> None:
    names = [entry["name"] for entry in read_automations(ROOT / AUTOMATIONS)]
    assert len(set(names)) == len(names) == 4
