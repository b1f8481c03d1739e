"""Which run is published: one small pointer per storage, replaced atomically, with its history."""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Literal

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, FiniteFloat, ValidationError

from tasks.errors import InputError, first_fault
from tasks.files import ConflictError
from tasks.storage import Storage

PATH = "champion.json"
MAX_HISTORY = 20  # earlier champions that can be returned to, and that no clean-up may delete
ATTEMPTS = 50  # each lost one means that another publisher got through

RunFolder = Annotated[str, Field(pattern=r"^runs/[0-9]{8}T[0-9]{6}Z-[0-9a-f]{8}$")]  # by time and the start of the id


class Closed(BaseModel):
    """Immutable, and with no field that is not known: what comes back from a storage is data."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class Figures(Closed):
    """Mean lifts over the baseline (NDCG@500) and their difference, run - champion, with the ends of its interval.

    level: of the interval. n_playlists, champion_n_playlists: evaluated in each run; n_common: in both.
    """

    baseline: str
    lift: FiniteFloat
    champion_lift: FiniteFloat
    difference: FiniteFloat
    low: FiniteFloat
    high: FiniteFloat
    level: FiniteFloat
    tolerance: FiniteFloat
    n_playlists: int
    champion_n_playlists: int
    n_common: int


class Decision(Closed):
    """What the gate says of a run, and why, in a sentence.

    verdict: "publish" is what is to be done; whether it was done is what champion.json says. champion: the run that it
    was compared with, None if there was none or nobody asked. figures: None if nothing was compared.
    """

    verdict: Literal["publish", "keep", "unchanged"]
    sentence: str
    champion: RunFolder | None = None
    figures: Figures | None = None


class Publication(Closed):
    """A run that was published: its folder relative to the storage root, its id, when, and what the gate said."""

    run: RunFolder
    run_id: str
    published: AwareDatetime
    decision: Decision


class Champion(Closed):
    """champion.json: the published run, and those that were published before it, the newest first.

    history: each run once, as it was published for the first time.
    """

    current: Publication
    history: list[Publication] = []

    def previous(self) -> str | None:
        """The run that the current one replaced when it was published for the first time; None if it was the first.

        So whoever goes back again comes to an older run, never to one that was withdrawn.
        """
        first = next((past for past in self.history if past.run == self.current.run), self.current)
        return first.decision.champion


def read_champion(storage: Storage) -> Champion | None:
    """The published run of a storage, None if nothing was published; raises InputError if the file is damaged."""
    return _parse(storage, storage.files.read_version(PATH)[0])


def update_champion(storage: Storage, propose: Callable[[Champion | None], Publication | None]) -> bool:
    """Publish what `propose` answers to the current champion, and keep the former one in the history.

    `propose` is asked again if another publisher was faster; None leaves the pointer alone. Returns whether it was
    moved. Raises InputError if the file is damaged, which is never repaired by replacing it, or if others replace it
    all the time.
    """
    for _ in range(ATTEMPTS):
        content, version = storage.files.read_version(PATH)
        champion = _parse(storage, content)
        publication = propose(champion)
        if publication is None:
            return False
        moved = Champion(current=publication, history=_history(champion))
        try:
            storage.files.replace(PATH, moved.model_dump_json(indent=2).encode(), version)
        except ConflictError:
            continue
        return True
    raise InputError(f"{PATH} of storage {storage.uri!r} was replaced {ATTEMPTS} times in a row: publish again later.")


def _history(champion: Champion | None) -> list[Publication]:
    if champion is None:
        return []
    is_new = champion.current.run not in {past.run for past in champion.history}
    return ([champion.current] if is_new else []) + champion.history[: MAX_HISTORY - is_new]


def _parse(storage: Storage, content: bytes | None) -> Champion | None:
    if content is None:
        return None
    try:
        return Champion.model_validate_json(content)
    except ValidationError as error:
        raise InputError(
            f"{PATH} of storage {storage.uri!r} is damaged ({first_fault(error)}): put a good copy back, or delete it "
            "and name the champion with python -m flows.publish_run."
        ) from error
