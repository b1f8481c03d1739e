"""The gate on the reference run and copies of its manifest: what is compared, and what is kept back without it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tasks.champion import Champion, Decision, read_champion
from tasks.gate import Rule, judge
from tasks.manifest import FilesByStage, Manifest, joined_file, read_manifest
from tasks.storage import Storage
from tests.conftest import crown, manifest_of

RULE = Rule(publish="if_not_worse", tolerance=0.0, min_coverage=0.9, refit=True)
ALWAYS = RULE._replace(publish="always")
OTHER = "runs/20200101T000000Z-0000000b"


def champion_of(storage: Path) -> Champion:
    champion = read_champion(Storage(str(storage)))
    assert champion is not None
    return champion


def files_of(storage: Path, run: str = "") -> FilesByStage:
    return read_manifest(Storage(str(storage)), run or champion_of(storage).current.run, Manifest).files


def other_models(storage: Path) -> FilesByStage:
    """The files of the reference run, as if its models were others."""
    files = files_of(storage)
    return files | {"train_batch_outer": files["train_batch_outer"][:-1]}


def decide(storage: Path, files: FilesByStage, rule: Rule, n_trained: int = 24) -> Decision:
    return judge(Storage(str(storage)), files, {"trained": n_trained, "too_few": 99}, champion_of(storage), rule)


def test_a_run_with_models_for_fewer_playlists_is_kept_back(reference: Path) -> None:
    run = champion_of(reference).current.run
    kept = decide(reference, other_models(reference), RULE, n_trained=21)
    assert (kept.verdict, kept.sentence) == (
        "keep",
        f"Not published: it has models for 21 playlists, and {run} for 24: fewer than the share of 90% that is asked "
        "for (publication.min_coverage). To publish it all the same, start it again with publication.publish = always.",
    )
    for rule, n_trained in [(RULE, 22), (RULE._replace(min_coverage=0.0), 3), (ALWAYS, 3), (RULE, 200)]:
        decision = decide(reference, other_models(reference), rule, n_trained)
        assert decision.verdict == "publish" and decision.figures is not None


def test_the_models_of_a_former_champion_do_not_come_back_by_themselves(storage: Path) -> None:
    """A run that was withdrawn is not published again by the next scheduled run of the same data."""
    first, files = manifest_of(storage), files_of(storage)
    about = first | {"folder": OTHER, "files": first["files"] | {"train_batch_outer": []}}
    (storage / OTHER).mkdir()
    (storage / OTHER / "manifest.json").write_text(json.dumps(about))
    crown(storage, OTHER, "runs/20200101T000000Z-0000000c", first["folder"])
    kept = decide(storage, files, RULE)
    assert (kept.verdict, kept.champion) == ("keep", OTHER)
    assert f"its models are those of {first['folder']}, which was champion before {OTHER}" in kept.sentence
    assert "publication.publish = always" in kept.sentence
    assert decide(storage, files, ALWAYS).verdict == "publish"
    assert decide(storage, files_of(storage, OTHER), RULE).verdict == "unchanged"
    assert decide(storage, other_models(storage) | {"prepare_batches": []}, RULE).verdict == "publish"


@pytest.mark.parametrize("damage", [None, b"", b"x" * 100])
def test_damaged_metrics_of_the_champion_are_no_comparison(damage: bytes | None, storage: Path) -> None:
    """A sentence that names the file, no traceback; and the run may take its place if it is asked for."""
    files, metrics = other_models(storage), joined_file(files_of(storage), "all_metrics")
    assert metrics is not None
    (storage / metrics.path).unlink()
    if damage is not None:
        (storage / metrics.path).write_bytes(damage)
    files = {stage: refs for stage, refs in files.items() if stage != "summarize"}
    kept = decide(storage, files, RULE)
    assert kept.verdict == "keep" and metrics.path in kept.sentence and "cannot be compared with" in kept.sentence
    assert decide(storage, files, ALWAYS).sentence.startswith("Published in place of runs/")
