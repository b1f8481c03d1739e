"""Planted records: what comes back from storage is data, never code."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import pickle
from pathlib import Path
from typing import Any

import pytest
from prefect import flow
from pydantic import ValidationError

from tasks.checkpoints import checkpointed
from tasks.errors import InputError
from tasks.files import DamagedFileError
from tasks.records import RecordStore, ReferenceSerializer, require_records, use_storage
from tasks.references import Census, FileRef
from tests.gcs_emulator import Bucket

CENSUS = Census(n_playlists=1, n_memberships=2, n_tracks=3, n_tracks_with_features=4)


@checkpointed(task_run_name="count something")
def count_something(*, storage: str, factor: int) -> Census:
    """A resumable task without files."""
    return CENSUS.model_copy(update={"n_playlists": factor})


@flow
def count_flow(storage: str, factor: int = 1) -> Any:
    use_storage(storage)
    return count_something(storage=storage, factor=factor, return_state=True)


def run(storage: Path, factor: int = 1) -> tuple[str, str | None, Any]:
    """How the task ended (Completed or Cached), its message and its result."""
    state = count_flow(str(storage), factor)
    return state.name, state.message, state.result()


def record_of(storage: Path) -> Path:
    (path,) = storage.glob("records/count-something-*")
    return path


def test_a_record_is_reused_and_says_why_not(server: object, tmp_path: Path) -> None:
    assert run(tmp_path) == ("Completed", "new", CENSUS)
    assert run(tmp_path)[0] == "Cached"
    assert run(tmp_path, factor=2)[:2] == ("Completed", "input factor changed")


def test_records_in_a_bucket_are_read_and_written_from_event_loops_too(server: object, bucket: Bucket) -> None:
    """Prefect calls the storage of its results in the thread of whatever calls the task."""

    @flow
    async def outer(factor: int) -> tuple[str, Any]:
        state = count_flow(bucket.uri, factor, return_state=True)
        inner = await state.aresult(raise_on_failure=False)
        return inner.name, await inner.aresult()

    for expected in ("Completed", "Cached"):
        assert asyncio.run(outer(5)) == (expected, CENSUS.model_copy(update={"n_playlists": 5}))
    assert len(bucket.names("records/count-something-")) == 1
    bucket.put(next(iter(bucket.names("records/count-something-"))), b"garbage")
    assert asyncio.run(outer(5))[0] == "Completed"


class Bomb:
    """Unpickling it would create the file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def with_checksum(text: str) -> str:
    return f"{hashlib.sha256(text.encode()).hexdigest()}\n{text}"


def planted(kind: str, record: dict[str, Any], mark: Path) -> dict[str, Any]:
    pickled = base64.b64encode(pickle.dumps(Bomb(mark))).decode()
    if kind == "pickle named in the metadata":
        return {"metadata": record["metadata"] | {"serializer": {"type": "pickle"}}, "result": pickled}
    if kind == "pickle named beside the metadata":
        return record | {"serializer": {"type": "pickle"}, "result": pickled}
    if kind == "old form":
        return {"serializer": {"type": "pickle"}, "data": pickled}
    if kind == "compressed pickle":
        serializer = {"type": "compressed/pickle", "serializer": {"type": "pickle"}}
        return {"metadata": record["metadata"] | {"serializer": serializer}, "result": pickled}
    # Prefect's JSON decoder would call the named class with the data.
    command = {"__class__": "subprocess.check_output", "data": ["touch", str(mark)]}
    serializer = {"type": "json"} if kind == "class in JSON" else record["metadata"]["serializer"]
    text = json.dumps(command)
    if kind == "class in our serializer":
        text = with_checksum(text)
    return {"metadata": record["metadata"] | {"serializer": serializer}, "result": text}


@pytest.mark.parametrize(
    "kind",
    [
        "pickle named in the metadata",
        "pickle named beside the metadata",
        "old form",
        "compressed pickle",
        "class in JSON",
        "class in our serializer",
    ],
)
def test_a_planted_record_is_a_miss_and_runs_nothing(kind: str, server: object, tmp_path: Path) -> None:
    run(tmp_path / "storage")
    path, mark = record_of(tmp_path / "storage"), tmp_path / "mark"
    path.write_text(json.dumps(planted(kind, json.loads(path.read_text()), mark)))
    assert run(tmp_path / "storage") == ("Completed", "record unreadable or foreign", CENSUS)
    assert not mark.exists()
    assert run(tmp_path / "storage")[0] == "Cached"


def test_a_changed_digit_in_a_record_is_a_miss(server: object, tmp_path: Path) -> None:
    run(tmp_path, factor=31)
    path = record_of(tmp_path)
    path.write_text(path.read_text().replace('\\"n_playlists\\":31', '\\"n_playlists\\":91'))
    assert "91" in path.read_text()
    name, message, result = run(tmp_path, factor=31)
    assert (name, message) == ("Completed", "record damaged: its value is not what was written")
    assert result.n_playlists == 31


def test_a_record_under_another_name_is_a_miss(server: object, tmp_path: Path) -> None:
    run(tmp_path)
    first = record_of(tmp_path)
    content = first.read_bytes()
    run(tmp_path, factor=2)
    (second,) = set(tmp_path.glob("records/count-something-*")) - {first}
    second.write_bytes(content)
    name, message, result = run(tmp_path, factor=2)
    assert (name, result.n_playlists) == ("Completed", 2)
    assert message and "was written under the name" in message


def test_a_record_cannot_point_outside_the_storage(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    file = {"kind": "file", "path": "../secret", "size": 1, "sha256": "0" * 64, "crc32c": "", "rows": 0}
    with pytest.raises(ValidationError, match="path"):
        ReferenceSerializer().loads(with_checksum(json.dumps(file)).encode())


def test_a_record_whose_file_is_gone_is_not_read(tmp_path: Path) -> None:
    file = FileRef(path=f"data/models/{'0' * 64}.parquet", size=1, sha256="0" * 64, crc32c="", rows=0)
    name = f"train-batch-{'0' * 40}"
    metadata = {
        "storage_key": name,
        "expiration": None,
        "serializer": {"type": "reference"},
        "prefect_version": "3",
        "storage_block_id": None,
    }
    content = json.dumps({"metadata": metadata, "result": with_checksum(file.model_dump_json())}).encode()
    store = RecordStore(storage_uri=str(tmp_path))
    store.write_path(name, content)
    with pytest.raises(DamagedFileError, match="file missing"):
        store.read_path(name)


@pytest.mark.parametrize("value", [{"a": 1}, [CENSUS], "text", object(), pickle])
def test_only_references_are_serialized(value: object) -> None:
    with pytest.raises(ValueError, match="which is not in tasks"):
        ReferenceSerializer().dumps(value)


def test_references_survive_the_round_trip() -> None:
    serializer = ReferenceSerializer()
    assert serializer.loads(serializer.dumps(CENSUS)) == CENSUS


def test_a_finished_task_without_a_record_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the first is records/train-batch-0"):
        require_records(str(tmp_path), ["train-batch-0"])
