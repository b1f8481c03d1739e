"""What no kept run refers to: found from manifests and records alone, deleted in an order that is safe to interrupt.

A run is kept if it is among the last completed ones of its flow (up to as many failed ones in between are kept with
them), is or was champion, or trained the models that a kept run recommended from. A record is kept if a kept run's
manifest lists it; a data file if a kept run's manifest or record names it. So a run that repeats a kept one finds
everything it would use.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Literal

from prefect import task
from pydantic import BaseModel

from tasks.champion import read_champion
from tasks.errors import InputError
from tasks.files import StoredFile
from tasks.manifest import read_manifest
from tasks.past_runs import RUN_NAME
from tasks.storage import Storage, at_once

DATA = re.compile(r"data/[a-z_]+/[0-9a-f]{64}\.parquet")
RECORD = re.compile(r"records/[a-z-]+-[0-9a-f]{40}")
TEMPORARY = re.compile(r"(data|records|runs)/([^/]+/)*(\.[0-9a-f]{16}\.part|probe-[0-9a-f]{16})")
# Of a run's folder the manifest goes last: without it, what is left would look like a run under way.
CHECK_EVERY = 100  # deleted files, a request each
RUN_FILES = ("started.json", "report.html", "manifest.json")
RUN_FILE = re.compile(rf"(runs/{RUN_NAME.pattern})/({'|'.join(map(re.escape, RUN_FILES))})")


class Amount(BaseModel):
    """So many files of so many bytes in all."""

    files: int = 0
    bytes: int = 0


class Pruning(BaseModel):
    """What is kept and freed, by kind of file, of all that may be deleted at all. kept_runs: folders, oldest first."""

    kept_runs: list[str]
    kept: dict[str, Amount]
    freed: dict[str, Amount]


class PastRun(BaseModel):
    """What counts of a manifest, of whichever flow."""

    flow: str
    status: Literal["completed", "failed"]
    records: list[str]
    models_of: str = ""


@task(task_run_name="prune files", persist_result=False)
def prune_files(storage: str, keep: int, unfinished_hours: float, delete: bool, run_id: str) -> Pruning:
    """Find, and if `delete` also delete, what no kept run refers to, and temporary files older than unfinished_hours.

    keep: completed runs of each flow. run_id: of the run that prunes. Records go before the data that they name: what
    is left is whole whenever this stops. Raises InputError while another run younger than unfinished_hours has no
    manifest, if a manifest cannot be read, or the champion's is missing; and, as soon as it is noticed (after the
    records, then every CHECK_EVERY files, and at the end), if another run starts or one that is not kept becomes
    champion. A storage has no lock: between two looks what such a run needs may be deleted.
    """
    store, oldest = Storage(storage), datetime.now(UTC) - timedelta(hours=unfinished_hours)
    # Runs are listed last: whatever was listed of one that is under way, it is among them.
    files = [file for folder in ("data", "records", "runs") for file in store.files.list(folder)]
    runs = list_run_files(files)
    others = {folder: names for folder, names in runs.items() if not folder.endswith(f"-{run_id[:8]}")}
    _require_finished(others, oldest)
    kept_runs = choose_runs(store, [folder for folder, names in others.items() if "manifest.json" in names], keep)
    doomed, pruning = _sort_out(files, _live(store, kept_runs), set(others) - set(kept_runs), oldest)
    pruning.kept_runs = kept_runs
    if delete:
        _delete(store, doomed["records"], lambda n: _require_same(store, runs, kept_runs, f"{n:,} records"))
        rest = [file for kind in ("data", "temporary", "runs") for file in doomed[kind]]
        _delete(store, rest, lambda n: _require_same(store, runs, kept_runs, f"all records and {n:,} other files"))
    return pruning


def list_run_files(files: list[StoredFile]) -> dict[str, set[str]]:
    """The files of each run's folder, the oldest run first; other names are passed over."""
    found: defaultdict[str, set[str]] = defaultdict(set)
    for match in filter(None, (RUN_FILE.fullmatch(file.path) for file in files)):
        found[match.group(1)].add(match.group(2))
    return dict(sorted(found.items()))


def choose_runs(store: Storage, finished: list[str], keep: int) -> list[str]:
    """Those of the finished runs (folders, the oldest first) that are kept, in the same order.

    Raises InputError if a manifest cannot be read, or the champion's is missing.
    """
    manifests = at_once(lambda folder: read_manifest(store, folder, PastRun), finished)
    about = dict(zip(finished, manifests, strict=True))
    n_kept: Counter[tuple[str, str]] = Counter()
    kept = set()
    for folder, run in reversed(about.items()):
        if max(n_kept[run.flow, "completed"], n_kept[run.flow, run.status]) < keep:
            kept.add(folder)
            n_kept[run.flow, run.status] += 1
    if champion := read_champion(store):
        if champion.current.run not in about:
            raise InputError(
                f"the champion {champion.current.run} has no manifest, so that nobody knows what belongs to it: "
                "publish another run first."
            )
        kept |= {champion.current.run, *(one.run for one in champion.history)} & set(about)
    kept |= {about[folder].models_of for folder in kept} & set(about)
    return [folder for folder in finished if folder in kept]


def _live(store: Storage, kept_runs: list[str]) -> set[str]:
    """The paths of all records that kept runs list, and of all data files that these or the manifests name."""
    runs = at_once(lambda folder: read_manifest(store, folder, PastRun), kept_runs)
    records = {f"records/{key}" for run in runs for key in run.records}
    named_in = [f"{folder}/manifest.json" for folder in kept_runs] + sorted(records)
    return records.union(*at_once(lambda path: _data_files(store, path), named_in))


def _data_files(store: Storage, path: str) -> set[str]:
    """The data files that a manifest or a record names; none if it is gone: a run would compute it again."""
    try:
        return set(DATA.findall(store.files.read(path).decode(errors="replace")))
    except FileNotFoundError:
        return set()


def _sort_out(
    files: list[StoredFile], live: set[str], old_runs: set[str], oldest: datetime
) -> tuple[dict[str, list[StoredFile]], Pruning]:
    """What is to be deleted, by kind, and how much that is. Files of other names are passed over."""
    doomed: dict[str, list[StoredFile]] = {"records": [], "data": [], "temporary": [], "runs": []}
    pruning = Pruning(kept_runs=[], kept={kind: Amount() for kind in doomed}, freed={kind: Amount() for kind in doomed})
    for file in files:
        if RECORD.fullmatch(file.path):
            kind, is_old = "records", file.path not in live
        elif DATA.fullmatch(file.path):
            kind, is_old = "data", file.path not in live
        elif TEMPORARY.fullmatch(file.path):
            kind, is_old = "temporary", file.modified < oldest
        elif match := RUN_FILE.fullmatch(file.path):
            kind, is_old = "runs", match.group(1) in old_runs
        else:
            continue
        amount = (pruning.freed if is_old else pruning.kept)[kind]
        amount.files, amount.bytes = amount.files + 1, amount.bytes + file.size
        if is_old:
            doomed[kind].append(file)
    doomed["runs"].sort(key=lambda file: RUN_FILES.index(file.path.split("/")[-1]))
    return doomed, pruning


def _delete(store: Storage, files: list[StoredFile], require_same: Callable[[int], None]) -> None:
    """Delete files in order; require_same is asked with the number that are gone, now and then and at the end."""
    for n, file in enumerate(files):
        if n and n % CHECK_EVERY == 0:
            require_same(n)
        store.files.delete(file.path)
    require_same(len(files))


def _require_finished(runs: dict[str, set[str]], oldest: datetime) -> None:
    for folder, names in runs.items():
        started = datetime.strptime(folder[5:21], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        if "manifest.json" not in names and started > oldest:
            raise InputError(
                f"{folder} started at {started:%Y-%m-%d %H:%M} UTC and has no manifest: it may be under way and need "
                "what would be deleted. Wait for its end; if it was interrupted, lower unfinished_hours below its age."
            )


def _require_same(store: Storage, runs: dict[str, set[str]], kept_runs: list[str], deleted: str) -> None:
    """Raise InputError if there is a run that was not listed, or a champion that is not kept."""
    champion = read_champion(store)
    if champion and champion.current.run in set(runs) - set(kept_runs):
        raise InputError(
            f"{champion.current.run} became champion in the meantime, and some of {deleted} that were deleted may be "
            f"its own: publish it once more (python -m flows.publish_run --run {champion.current.run}), which says "
            "whether it is whole. Nothing more is deleted."
        )
    new = [folder for folder in list_run_files(list(store.files.list("runs"))) if folder not in runs]
    if new:
        raise InputError(
            f"{new[0]} started in the meantime and may use what would be deleted: {deleted} were deleted, and nothing "
            "more. Start again when it has ended."
        )
