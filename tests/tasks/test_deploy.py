"""Wrong files and missing servers are one sentence; what deploying does is in tests/integration/test_deployments.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tasks.deploy import AUTOMATIONS, check_automation, read_automations
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


def valid(**changes: Any) -> dict[str, Any]:
    trigger = {"type": "event", "posture": "Reactive", "expect": ["a"], "threshold": 1, "within": 0}
    return {"name": "n", "trigger": trigger, "actions": [{"type": "do-nothing"}]} | changes


def test_a_valid_automation_passes() -> None:
    assert check_automation(valid()).name == "n"


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        (valid(enable=True), "automation 'n' has unknown fields: enable."),
        (valid(trigger=valid()["trigger"] | {"expct": []}), "automation 'n' has unknown fields: expct."),
        (
            valid(trigger=valid()["trigger"] | {"threshold": "x"}),
            "trigger.event.threshold: Input should",
        ),
        (
            valid(trigger=valid()["trigger"] | {"posture": "Proactive", "within": 5}),
            "greater than or equal to 10",
        ),
    ],
    ids=["field", "field of the trigger", "value", "too impatient"],
)
def test_a_wrong_automation_is_one_sentence(entry: dict[str, Any], said: str) -> None:
    """Prefect drops an unknown field silently: the automation would be another one than is written."""
    with pytest.raises(InputError) as raised:
        check_automation(entry)
    assert said in str(raised.value)


@pytest.mark.parametrize("text", ["", "automations: [", "other: 1", "automations: [{name: n, trigger: {}}]"])
def test_a_file_without_automations_is_one_sentence(text: str, tmp_path: Path) -> None:
    (tmp_path / "automations.yaml").write_text(text)
    with pytest.raises(InputError, match=r"automations\.yaml does not list automations"):
        read_automations(tmp_path / "automations.yaml")


def test_names_of_automations_are_unique() -> None:
    names = [entry["name"] for entry in read_automations(ROOT / AUTOMATIONS)]
    assert len(set(names)) == len(names) == 4
