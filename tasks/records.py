"""Records: what Prefect keeps of a finished task, in one closed form, and only while the files in it are intact.

Prefect deserializes a record before it accepts a cache hit and takes any error there for a miss. `RecordStore`
reads records for it and raises unless the form is ours and every file is there with the right content: whatever is
missing, damaged or foreign is computed again.
"""

from __future__ import annotations

import hashlib
import re
from typing import Any, Literal

from prefect.filesystems import WritableFileSystem
from prefect.results import get_result_store
from prefect.serializers import Serializer
from pydantic import BaseModel, ConfigDict, TypeAdapter

from tasks.errors import InputError
from tasks.files import DamagedFileError
from tasks.references import Reference, files_in
from tasks.results import Result
from tasks.storage import Storage

RESULT: TypeAdapter[Any] = TypeAdapter(Result)
CHECKPOINT_NAME = re.compile(r"[a-z-]+-[0-9a-f]{40}")  # the task and its key, as tasks/checkpoints.py makes it


class ReferenceSerializer(Serializer):
    """References to JSON and back, over the closed set of tasks/results.py, with a checksum of the JSON.

    Not a subclass of Prefect's JSONSerializer, whose decoder instantiates whatever class a record names.
    """

    type: Literal["reference"] = "reference"

    def dumps(self, obj: Any) -> bytes:
        """A line with the sha256 of the JSON, then the JSON; raises ValueError for what is no reference.

        Of an exception only the text remains: Prefect persists a failed task's exception like a result, under a random
        name that no key ever finds.
        """
        if isinstance(obj, BaseException):
            return f"{type(obj).__name__}: {obj}".encode()
        if not isinstance(obj, Reference):
            raise ValueError(f"a checkpointed task returned {type(obj).__name__}, which is not in tasks/results.py")
        content = RESULT.dump_json(obj)
        return hashlib.sha256(content).hexdigest().encode() + b"\n" + content

    def loads(self, blob: bytes) -> Any:
        """The reference that a record holds.

        Raises DamagedFileError if the JSON is not what was written, pydantic's ValidationError if it is no reference.
        """
        checksum, _, content = blob.partition(b"\n")
        if hashlib.sha256(content).hexdigest().encode() != checksum:
            raise DamagedFileError("record damaged: its value is not what was written")
        return RESULT.validate_json(content)


class _Serializer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    type: Literal["reference"]


class _Metadata(BaseModel):
    model_config = ConfigDict(extra="forbid")
    storage_key: str
    expiration: None
    serializer: _Serializer
    prefect_version: str
    storage_block_id: None


class _Record(BaseModel):
    """The only form of record that is accepted: Prefect itself would unpickle one whose serializer says so."""

    model_config = ConfigDict(extra="forbid")
    metadata: _Metadata
    result: str


class RecordStore(WritableFileSystem):
    """Prefect's result storage below `records/` of a storage: refuses whatever is not an intact record of ours."""

    _block_type_name = "Verified records"

    storage_uri: str

    def _resolve_path(self, path: str) -> None:
        """Prefect asks for the place of a key; None keeps keys relative, so that a storage can be moved."""

    def read_path(self, path: str, **_: Any) -> bytes:  # type: ignore[override]  # Prefect passes _sync=True
        """A record's bytes; raises FileNotFoundError, ValidationError or DamagedFileError, all of which are a miss."""
        storage = Storage(self.storage_uri)
        content = storage.files.read(f"records/{path}")
        record = _Record.model_validate_json(content)
        if record.metadata.storage_key != path:
            raise DamagedFileError(f"record {path} was written under the name {record.metadata.storage_key}")
        storage.verify(*files_in(ReferenceSerializer().loads(record.result.encode())))
        return content

    def write_path(self, path: str, content: bytes, **_: Any) -> None:  # type: ignore[override]
        """Write a record, whole or not at all. What is not named as a checkpoint (a failure) is not kept."""
        if CHECKPOINT_NAME.fullmatch(path):
            Storage(self.storage_uri).files.write(f"records/{path}", content)


def use_storage(uri: str) -> None:
    """Let the tasks of the current flow run keep their records in this storage. Call it first in a flow."""
    get_result_store().result_storage = RecordStore(storage_uri=uri)


def require_records(storage: str, keys: list[str]) -> None:
    """Raise InputError unless every key has a record: Prefect says Completed even if writing it failed."""
    missing = Storage(storage).missing([f"records/{key}" for key in keys])
    if missing:
        raise InputError(
            f"{len(missing)} finished task run(s) left no record in {storage!r} (the first is {missing[0]}): "
            "free some space or check the permissions, then start the run again; what has a record is reused."
        )
