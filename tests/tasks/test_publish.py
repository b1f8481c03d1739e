"""The pointer and what it names: whole files at the last moment, and the way back, on copies of one run's manifest."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tasks.champion import Decision, read_champion
from tasks.errors import InputError
from tasks.local_files import LocalFiles
from tasks.manifest import Manifest
from tasks.publish import publish_by_hand, publish_if_decided
from tasks.storage import Storage
from tests.conftest import manifest_of


def decided(storage: Path) -> Manifest:
    """The reference run at the moment when it is to be published as the first one."""
    (storage / "champion.json").unlink()
    manifest = Manifest.model_validate_json(json.dumps(manifest_of(storage)))
    return manifest.model_copy(update={"decision": Decision(verdict="publish", sentence="said by a test")})


def copies(storage: Path, *names: str) -> list[str]:
    """Runs with the files of the reference run, in a storage without a champion."""
    manifest = decided(storage).model_dump(mode="json")
    folders = [f"runs/20200101T000000Z-{name * 8}" for name in names]
    for folder in folders:
        (storage / folder).mkdir()
        content = json.dumps(manifest | {"folder": folder, "run_id": folder[-8:]})
        (storage / folder / "manifest.json").write_text(content)
    return folders


def pointer(storage: Path) -> list[str]:
    champion = read_champion(Storage(str(storage)))
    return [] if champion is None else [champion.current.run, *(past.run for past in champion.history)]


def test_a_run_whose_files_are_gone_at_the_last_moment_is_not_published(storage: Path) -> None:
    manifest, left = decided(storage), []
    assert manifest.served is not None
    lost = manifest.served.models[1].path
    (storage / lost).unlink()
    after = publish_if_decided(manifest, Storage(str(storage)), lambda one: left.append(one) or one)
    assert left == [after] and (after.status, after.decision) == ("failed", None)
    assert f"the run cannot be published: the models of {manifest.folder} cannot be used" in after.message
    assert f"file missing: {lost}" in after.message
    assert pointer(storage) == []


def test_back_and_back_again_never_returns_to_what_was_withdrawn(server: dict[str, str], storage: Path) -> None:
    a, b, c, d = copies(storage, "a", "b", "c", "d")
    for run in (a, b, c):
        publish_by_hand(str(storage), run)
    for expected in (b, a):
        assert publish_by_hand(str(storage), "previous") == f"{expected} is the champion now."
    assert pointer(storage) == [a, c, b, a]
    with pytest.raises(InputError, match=r"no run was published in storage .* before the present champion"):
        publish_by_hand(str(storage), "previous")
    publish_by_hand(str(storage), d)
    assert pointer(storage) == [d, c, b, a]
    publish_by_hand(str(storage), "previous")
    assert pointer(storage)[:2] == [a, d]


def test_who_overtakes_a_return_is_what_it_returns_from(
    server: dict[str, str], storage: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a, b, c = copies(storage, "a", "b", "c")
    publish_by_hand(str(storage), a)
    publish_by_hand(str(storage), b)
    replace = LocalFiles.replace

    def overtaken(self: LocalFiles, *arguments: Any) -> None:
        monkeypatch.setattr(LocalFiles, "replace", replace)
        publish_by_hand(str(storage), c)
        replace(self, *arguments)

    monkeypatch.setattr(LocalFiles, "replace", overtaken)
    assert publish_by_hand(str(storage), "previous") == f"{b} is the champion now."


def test_files_deleted_while_the_pointer_moves_are_said(storage: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (run,) = copies(storage, "a")
    lost, replace = manifest_of_run(storage, run)["served"]["models"][0]["path"], LocalFiles.replace

    def prune_and_replace(self: LocalFiles, *arguments: Any) -> None:
        (storage / lost).unlink()
        replace(self, *arguments)

    monkeypatch.setattr(LocalFiles, "replace", prune_and_replace)
    with pytest.raises(InputError, match=rf"{run} is the champion now, but was deleted from .*file missing: {lost}"):
        publish_by_hand(str(storage), run)
    assert pointer(storage) == [run]


def manifest_of_run(storage: Path, run: str) -> dict[str, Any]:
    manifest: dict[str, Any] = json.loads((storage / run / "manifest.json").read_text())
    return manifest
