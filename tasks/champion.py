"""The run whose models are published, and those that were before it."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from tasks.errors import InputError
from tasks.storage import Storage

CHAMPION = "champion.json"


class Decision(BaseModel):
    """Why a run was published, in a sentence; champion: the run that it was compared with."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    verdict: Literal["publish", "keep", "unchanged"]
    sentence: str
    champion: str | None = None


class Publication(BaseModel):
    """A run that was published; run: its folder, relative to the storage root."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    run: Annotated[str, Field(pattern=r"^runs/\d{8}T\d{6}Z-[0-9a-f]{8}$")]
    run_id: str
    published: AwareDatetime
    decision: Decision


class Champion(BaseModel):
    """The content of champion.json."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    current: Publication
    history: list[Publication] = []


def read_champion(storage: Storage) -> Champion | None:
    """What is published in a storage, None if nothing is; raises InputError if the file is not what was written."""
    try:
        return Champion.model_validate_json(storage.files.read(CHAMPION))
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise InputError(f"{CHAMPION} of storage {storage.uri!r} is damaged: publish a run again.") from error
