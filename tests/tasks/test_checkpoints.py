"""Keys as values: what is in them and what is not."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prefect.client.schemas.objects import TaskRun
from prefect.states import Failed

from tasks import checkpoints
from tasks.checkpoints import checkpoint_key, is_transient, key_parts
from tasks.extract import extract_tracks
from tasks.features import build_features
from tasks.files import UnavailableError
from tasks.records import CHECKPOINT_NAME
from tasks.references import FileRef, Snapshot
from tasks.train import train_batch

FILE = FileRef(path=f"data/models/{'a' * 64}.parquet", size=1, sha256="a" * 64, crc32c="x", rows=1)
INPUTS = {"storage": "here", "source": "there", "number": 3, "batch": FILE, "fold": "inner", "regularization": 1.0}


def parts(**changed: object) -> dict[str, str]:
    return key_parts(train_batch.fn.__wrapped__, INPUTS | changed)


def test_parts_have_names_that_people_understand() -> None:
    names = set(parts())
    assert {"code of tasks.train", "code of tasks.ml.logistic", "version of numpy", "input regularization"} <= names
    assert "code of tasks.report" not in names


def test_sql_counts_for_extracts_only() -> None:
    assert "code of tracks.sql" in key_parts(extract_tracks.fn.__wrapped__, {})
    assert "code of tracks.sql" not in key_parts(build_features.fn.__wrapped__, {})


@pytest.mark.parametrize("name", ["storage", "source", "number", "maximum_bytes_billed"])
def test_places_and_numbers_are_not_in_the_key(name: str) -> None:
    assert parts(**{name: "another"}) == parts()


def test_a_file_counts_by_its_content_alone() -> None:
    moved = FILE.model_copy(update={"path": f"data/other/{'a' * 64}.parquet", "crc32c": "y"})
    assert parts(batch=moved) == parts()
    assert parts(batch=FILE.model_copy(update={"sha256": "b" * 64})) != parts()


def test_other_references_count_by_their_fields() -> None:
    assert parts(batch=Snapshot(tables={"playlists": "1"})) != parts(batch=Snapshot(tables={"playlists": "2"}))


def test_an_input_without_stable_content_is_refused() -> None:
    with pytest.raises(TypeError, match="set cannot be an input"):
        parts(batch={1, 2})


def test_a_version_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    before = parts()
    monkeypatch.setattr(checkpoints, "library_versions", lambda: {"numpy": "0"})
    after = parts()
    assert after["version of numpy"] == "0" != before["version of numpy"]
    assert checkpoint_key("train_batch", after) != checkpoint_key("train_batch", before)


def test_two_tasks_with_the_same_inputs_have_two_keys() -> None:
    assert checkpoint_key("train_batch", {}) != checkpoint_key("other_batch", {})
    assert CHECKPOINT_NAME.fullmatch(checkpoint_key("train_batch", {}))


@pytest.mark.parametrize(
    ("error", "is_worth_it"),
    [(ConnectionResetError(), True), (UnavailableError("a bucket does not answer"), False), (PermissionError(), False)],
)
def test_what_has_been_waited_for_is_not_tried_again(error: OSError, is_worth_it: bool) -> None:
    run = TaskRun(task_key="t", dynamic_key="0")
    assert is_transient(train_batch, run, Failed(data=error)) is is_worth_it


PLAIN = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False), st.text()),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(), inner, max_size=4)),
    max_leaves=8,
)


@given(one=PLAIN, other=PLAIN)
def test_inputs_have_the_same_part_exactly_if_they_are_the_same_json(one: object, other: object) -> None:
    is_same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (parts(batch=one) == parts(batch=other)) is is_same
    assert (checkpoint_key("t", parts(batch=one)) == checkpoint_key("t", parts(batch=other))) is is_same


@given(names=st.permutations(["fold", "regularization", "batch", "number", "source", "storage"]))
def test_the_order_of_the_inputs_does_not_count(names: list[str]) -> None:
    shuffled = {name: INPUTS[name] for name in names}
    key = checkpoint_key("train_batch", key_parts(train_batch.fn.__wrapped__, shuffled))
    assert key == checkpoint_key("train_batch", parts())
