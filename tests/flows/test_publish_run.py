"""Publication by hand: what may become the champion, and the way back."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from flows.publish_run import publish_run
from tests.conftest import ROOT, RunFlow, manifest_of
from tests.flows.test_publication import NOTEBOOK, champion, events


def publish(storage: Path, run: str) -> tuple[bool, str]:
    """Whether it was done, and the sentence that says so or why not."""
    state = publish_run(run=run, storage=str(storage), return_state=True)
    return (True, state.result()) if state.is_completed() else (False, str(state.message))


def published(storage: Path) -> list[str]:
    pointer = champion(storage)
    return [pointer["current"]["run"], *(past["run"] for past in pointer["history"])]


def test_publish_a_run_that_lost_and_roll_back(server: dict[str, str], storage: Path, run_flow: RunFlow) -> None:
    first, lost = champion(storage)["current"]["run"], run_flow(storage, **NOTEBOOK)
    assert publish(storage, lost["run_id"]) == (True, f"{lost['folder']} is the champion now.")
    decision = champion(storage)["current"]["decision"]
    assert (decision["sentence"], decision["champion"]) == ("Published by hand.", first)
    assert publish(storage, "previous") == (True, f"{first} is the champion now.")
    assert publish(storage, first) == (True, f"{first} is the champion already; it was announced again.")
    assert published(storage) == [first, lost["folder"], first]
    assert not publish(storage, "previous")[0]

    command = [sys.executable, "-m", "flows.publish_run", "--storage", str(storage), "--run", lost["folder"]]
    done = subprocess.run(command, cwd=ROOT, env=os.environ | server, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout) == (0, f"{lost['folder']} is the champion now.\n")
    assert published(storage)[0] == lost["folder"]
    assert publish(storage, first.removeprefix("runs/"))[0]
    assert len(events(server, storage, first)) >= 3


@pytest.mark.parametrize("run", ["nothing", "", "runs/", "../runs", "/etc/passwd", "<b>x</b>", "0" * 36])
def test_a_run_that_is_not_there(run: str, server: dict[str, str], reference: Path) -> None:
    before = (reference / "champion.json").read_bytes()
    said = f'no run is called {run!r}: give "champion", "latest", or the folder or id of a run'
    is_done, sentence = publish(reference, run)
    assert not is_done and sentence.startswith(said)
    assert (reference / "champion.json").read_bytes() == before


def test_no_way_back_and_another_id_with_the_same_start(
    server: dict[str, str], reference: Path, tmp_path: Path
) -> None:
    said = "no run was published in storage {!r} before the present champion."
    assert publish(reference, "previous") == (False, said.format(str(reference)))
    assert publish(tmp_path / "nowhere", "previous") == (False, said.format(str(tmp_path / "nowhere")))
    assert not (tmp_path / "nowhere").exists()
    run_id = manifest_of(reference)["run_id"]
    assert publish(reference, run_id)[0]
    assert not publish(reference, run_id[:-1] + ("0" if run_id[-1] != "0" else "1"))[0]


def test_what_is_not_whole_is_not_published(server: dict[str, str], storage: Path) -> None:
    manifest = manifest_of(storage)
    folder, path = manifest["folder"], storage / manifest["folder"] / "manifest.json"
    (storage / "champion.json").unlink()
    lost = storage / manifest["served"]["models"][2]["path"]
    content = lost.read_bytes()
    lost.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert publish(storage, folder) == (
        False,
        f"the models of {folder} cannot be used (file damaged: {manifest['served']['models'][2]['path']} has other "
        "content than its name says): start train-playlists again with that run's parameters, which makes what is "
        "missing again.",
    )
    lost.write_bytes(content)
    for changes, said in [
        ({"status": "failed", "message": "planted"}, f"{folder} failed, and models of a failed run are not used"),
        ({"served": None}, f"{folder} left no models"),
        ({"served": {}}, f"manifest.json of storage {str(storage)!r} cannot be read (served."),
    ]:
        path.write_text(json.dumps(manifest | changes))
        is_done, sentence = publish(storage, folder)
        assert not is_done and said in sentence
    assert not (storage / "champion.json").exists()
    path.write_text(json.dumps(manifest))
    assert publish(storage, folder) == (True, f"{folder} is the champion now.")
    assert published(storage) == [folder]
