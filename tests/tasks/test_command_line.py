"""The command as a person meets it: help, results, and one sentence for every mistake."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import ROOT, SAMPLE_WAREHOUSE, small_options


def command(server: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "flows.train_playlists", *options],
        cwd=ROOT,
        env=os.environ | server,
        capture_output=True,
        text=True,
        timeout=120,
    )


def sentence(done: subprocess.CompletedProcess[str]) -> str:
    """The message of a run that ended as it should for an expected mistake."""
    assert done.returncode == 1
    assert done.stdout == ""
    assert "Traceback" not in done.stderr
    return done.stderr.splitlines()[-1]


def test_help_describes_every_group(server: dict[str, str]) -> None:
    done = command(server, "--help")
    assert done.returncode == 0
    for option in ("--source", "--sample.n-playlists", "--features.audio", "--training.batch-size", "--fresh"):
        assert option in done.stdout


def test_a_run_ends_with_a_table_and_the_manifest(server: dict[str, str], storage: Path) -> None:
    done = command(server, "--storage", str(storage), *small_options())
    assert done.returncode == 0, done.stderr
    assert "minmax" in done.stdout and "same artist album" in done.stdout
    manifest = json.loads(Path(done.stdout.splitlines()[-1]).read_text())
    assert manifest["status"] == "completed"
    assert "train batch outer: 3 reused" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--sample.n-playlists", "0"], "--sample.n-playlists 0: must be greater than or equal to 1. See --help."),
        (["--features.recipe", "x"], "--features.recipe x: must be 'full' or 'notebook'. See --help."),
        (["--sample.n-playlist", "3"], "Unknown option: --sample.n-playlist. Did you mean --sample.n-playlists?"),
        (["--training.regularization", "0"], "--training.regularization 0: must be greater than 0. See --help."),
        (["--training.regularization", "nan"], "--training.regularization nan: must be a finite number. See --help."),
        (
            ["--storage", "x/b\udcff"],
            "'x/b\\udcff' is not UTF-8 text: use another name, or a locale with UTF-8 "
            "(LC_ALL=C.UTF-8) if the name looks right.",
        ),
        (
            ["--sample.seed", "1", "--sample.seed", "2"],
            "--sample.seed: given more than once, or beside its opposite (--no-…): give it once. See --help.",
        ),
        (["extra"], "extra: not an option; options begin with --. See --help."),
        (
            ["--sample.maximum-bytes-billed", "much"],
            '--sample.maximum-bytes-billed much: must be an amount of data such as "100 GB", "2 TB" or a number of '
            "bytes. See --help.",
        ),
        (["--training.n-negatives", "5"], "--training.n-negatives 5: must be 0 or at least 100. See --help."),
    ],
)
def test_a_wrong_option_is_one_sentence(server: dict[str, str], options: list[str], said: str) -> None:
    assert sentence(command(server, *options)) == said


def test_all_wrong_options_are_named(server: dict[str, str]) -> None:
    done = command(server, "--sample.seed", "-1", "--compute.workers=x", "--bogus")
    assert done.returncode == 1
    assert [line.split(":")[0] for line in done.stderr.splitlines()] == [
        "--sample.seed -1",
        "--compute.workers=x",
        "Unknown option",
    ]


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "notaurl"])
def test_a_server_that_does_not_answer(url: str, tmp_path: Path) -> None:
    said = sentence(command({"PREFECT_API_URL": url}, "--storage", str(tmp_path / "storage")))
    assert said.startswith(f"no Prefect server answers at PREFECT_API_URL={url}: start it (make server)")
    assert not (tmp_path / "storage").exists()


def test_a_server_that_is_gone_for_long_ends_the_process() -> None:
    code = "import time; from tasks.command_line import watch_server; watch_server('http://127.0.0.1:9/api', 0.5)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert done.stderr.startswith("the Prefect server at http://127.0.0.1:9/api no longer answers: start it again")


def test_no_feature_block_at_all(server: dict[str, str]) -> None:
    options = ["--features.audio", "none", "--features.embeddings", "0", "--features.no-catalogue"]
    assert "are all left out: models need at least one of them" in sentence(command(server, *options))


def test_a_full_standard_output_does_not_undo_the_run(server: dict[str, str], storage: Path) -> None:
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "flows.train_playlists", "--storage", str(storage), *small_options()],
            cwd=ROOT,
            env=os.environ | server,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=120,
        )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("the run is complete, but standard output cannot be written")
    assert "Traceback" not in done.stderr


def test_a_reader_that_went_away_does_not_undo_the_run(server: dict[str, str], storage: Path) -> None:
    command_line = [sys.executable, "-m", "flows.train_playlists", "--storage", str(storage), *small_options()]
    process = subprocess.Popen(
        command_line, cwd=ROOT, env=os.environ | server, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stdout and process.stderr
    process.stdout.close()
    errors = process.stderr.read()
    assert process.wait(timeout=120) == 1
    assert errors.splitlines()[-1].startswith("the run is complete, but standard output cannot be written")


def test_an_option_given_twice(server: dict[str, str], tmp_path: Path) -> None:
    said = sentence(command(server, "--sample.seed", "1", "--storage", str(tmp_path), "--storage", str(tmp_path)))
    assert said.startswith("--storage: given more than once")


@pytest.mark.parametrize("flow", ["publish_run", "load_warehouse"])
def test_a_required_option_left_out(flow: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"flows.{flow}"], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert "requires an argument" in sentence(done)


def test_help_that_cannot_be_written() -> None:
    command_line = [sys.executable, "-m", "flows.train_playlists", "--help"]
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(command_line, cwd=ROOT, stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "standard output cannot be written (No space left on device).\n")
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", *command_line]
    done = subprocess.run(closed, cwd=ROOT, stderr=subprocess.PIPE, text=True, timeout=60)
    assert (done.returncode, done.stderr) == (1, "standard output is closed.\n")


def test_a_source_without_eligible_playlists(server: dict[str, str], tmp_path: Path) -> None:
    said = sentence(command(server, "--storage", str(tmp_path), "--sample.min-tracks", "5000"))
    assert "has 5000 tracks with features (sample.min_tracks): it holds 271 playlists with 19,274 rows" in said


def test_a_missing_source_and_a_storage_that_is_a_file(server: dict[str, str], tmp_path: Path) -> None:
    said = sentence(command(server, "--storage", str(tmp_path), "--source", str(tmp_path / "nowhere")))
    assert "nowhere' is not a folder (seen from " in said
    (tmp_path / "file").write_text("")
    assert "is a file: give a folder" in sentence(command(server, "--storage", str(tmp_path / "file")))
    assert "unknown scheme" in sentence(command(server, "--storage", str(tmp_path), "--source", "mysql://x"))


def test_a_truncated_table_leaves_a_manifest_and_nothing_half_written(server: dict[str, str], tmp_path: Path) -> None:
    source = Path(shutil.copytree(SAMPLE_WAREHOUSE, tmp_path / "source"))
    (source / "playlists.parquet").write_bytes((SAMPLE_WAREHOUSE / "playlists.parquet").read_bytes()[:-100])
    said = sentence(command(server, "--storage", str(tmp_path / "storage"), "--source", str(source)))
    assert "is not a whole Parquet file" in said
    (path,) = (tmp_path / "storage").glob("runs/*/manifest.json")
    assert json.loads(path.read_text())["message"] in said
    assert not list((tmp_path / "storage").rglob("*.part"))
