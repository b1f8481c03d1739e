"""The run whose models are published, and those that were before it."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import InputError
from tasks.storage import Storage

CHAMPION = "champion.json"


class Publication(BaseModel):
    """One run that was published; run: its folder, relative to the storage root."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    run: Annotated[str, Field(pattern=r"^runs/\d{8}T\d{6}Z-[0-9a-f]{8}$")]


class Champion(BaseModel):
    """The content of champion.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    current: Publication
    history: list[Publication]


def read_champion(storage: Storage) -> Champion | None:
    """What is published in a storage, None if nothing is; raises InputError if the file is not what was written."""
    try:
        return Champion.model_validate_json(storage.files.read(CHAMPION))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InputError(f"{CHAMPION} of storage {storage.uri!r} is damaged: publish a run again.") from error
