"""Runs by the names that people give, and which of them are models to use."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.errors import InputError
from tasks.past_runs import find_models
from tasks.storage import Storage
from tests.conftest import manifest_of


def test_all_names_of_a_run(reference: Path) -> None:
    store, manifest = Storage(str(reference)), manifest_of(reference)
    folder, run_id = manifest["folder"], manifest["run_id"]
    pasted = f"{reference}/{folder}/report.html"
    for name in ("champion", "latest", folder, folder.removeprefix("runs/"), run_id, run_id[:8], pasted):
        found = find_models(store, name)
        assert (found.folder, found.run_id, found.served.fold) == (folder, run_id, "all")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"status": "failed", "message": "planted"}, "failed, and models of a failed run are not used.*planted"),
        ({"flow": "recommend-tracks"}, "is a run of recommend-tracks, which leaves no models"),
        ({"served": None}, "left no models"),
    ],
)
def test_models_of_a_run_that_is_not_good_are_not_used(changes: dict[str, Any], said: str, storage: Path) -> None:
    manifest = manifest_of(storage)
    (storage / manifest["folder"] / "manifest.json").write_text(json.dumps(manifest | changes))
    for name in ("champion", manifest["folder"], manifest["run_id"]):
        with pytest.raises(InputError, match=said):
            find_models(Storage(str(storage)), name)
