"""The pointer to the champion: closed, replaced atomically, never lost between publishers."""

from __future__ import annotations

import json
import multiprocessing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tasks.champion import MAX_HISTORY, PATH, Champion, Decision, Publication, read_champion, update_champion
from tasks.errors import InputError
from tasks.files import ConflictError
from tasks.local_files import LocalFiles
from tasks.storage import Storage

N_PROCESSES, N_EACH = 4, 5  # all of them fit into the history


def publication(number: int) -> Publication:
    return Publication(
        run=f"runs/20261124T094423Z-{number:08x}",
        run_id=f"{number:08x}-0000-0000-0000-000000000000",
        published=datetime(2026, 11, 24, tzinfo=UTC),
        decision=Decision(verdict="publish", sentence="Published."),
    )


def publish(store: Storage, number: int) -> bool:
    return update_champion(store, lambda champion: publication(number))


def publish_several(folder: str, first: int, barrier: Any) -> None:
    barrier.wait(timeout=60)
    for number in range(first, first + N_EACH):
        assert publish(Storage(folder), number)


def runs(champion: Champion) -> list[str]:
    return [champion.current.run, *(past.run for past in champion.history)]


def test_nothing_published_is_no_champion_and_leaves_nothing(tmp_path: Path) -> None:
    store = Storage(str(tmp_path / "storage"))
    assert read_champion(store) is None
    assert not update_champion(store, lambda champion: None)
    assert not (tmp_path / "storage").exists()


def test_the_former_champions_are_the_history_newest_first(tmp_path: Path) -> None:
    store = Storage(str(tmp_path))
    for number in range(MAX_HISTORY + 3):
        assert publish(store, number)
    champion = read_champion(store)
    assert champion is not None
    assert runs(champion) == [publication(MAX_HISTORY + 2 - i).run for i in range(MAX_HISTORY + 1)]


def test_publishers_at_once_leave_one_pointer_and_lose_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    barrier = context.Barrier(N_PROCESSES)
    processes = [
        context.Process(target=publish_several, args=(str(tmp_path), i * N_EACH, barrier)) for i in range(N_PROCESSES)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join(timeout=120)
    assert [process.exitcode for process in processes] == [0] * N_PROCESSES
    champion = read_champion(Storage(str(tmp_path)))
    assert champion is not None
    assert sorted(runs(champion)) == [publication(number).run for number in range(N_PROCESSES * N_EACH)]
    assert [path.name for path in tmp_path.iterdir()] == [PATH]


def test_what_a_killed_publisher_left_goes_with_the_next_one(tmp_path: Path) -> None:
    for name in (".0123456789abcdef.part", ".mine.part"):
        (tmp_path / name).touch()
    assert publish(Storage(str(tmp_path)), 1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".mine.part", PATH]


def test_who_was_slower_is_asked_again_about_the_new_champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store, asked = Storage(str(tmp_path)), []
    publish(store, 1)
    replace = LocalFiles.replace

    def overtaken(self: LocalFiles, *arguments: Any) -> None:
        monkeypatch.setattr(LocalFiles, "replace", replace)
        publish(store, 2)
        replace(self, *arguments)

    def propose(champion: Champion | None) -> Publication | None:
        assert champion is not None
        asked.append(champion.current.run)
        return publication(3) if len(asked) == 1 else None

    monkeypatch.setattr(LocalFiles, "replace", overtaken)
    assert not update_champion(store, propose)
    assert asked == [publication(1).run, publication(2).run]
    champion = read_champion(store)
    assert champion is not None and runs(champion) == [publication(2).run, publication(1).run]


def test_a_pointer_that_others_replace_all_the_time_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def conflict(*arguments: Any) -> None:
        raise ConflictError

    monkeypatch.setattr(LocalFiles, "replace", conflict)
    with pytest.raises(InputError, match="was replaced 50 times in a row: publish again later"):
        publish(Storage(str(tmp_path)), 1)


def damaged(**changes: Any) -> bytes:
    current = json.loads(publication(1).model_dump_json())
    return json.dumps({"current": current | changes, "history": []}).encode()


DAMAGE = {
    "not JSON": b"{",
    "empty": b"",
    "not UTF-8": b"\xff\xfe",
    "another shape": b"[]",
    "unknown field": damaged(pickle="gASVAAAAAAAAAAAu"),
    "a run outside": damaged(run="runs/../../etc"),
    "a run with HTML": damaged(run="runs/<script>alert(1)</script>"),
    "no time zone": damaged(published="2026-11-24T09:44:23"),
    "another verdict": damaged(decision={"verdict": "maybe", "sentence": ""}),
}


@pytest.mark.parametrize("content", DAMAGE.values(), ids=DAMAGE.keys())
def test_a_damaged_pointer_is_one_sentence_and_is_never_replaced(content: bytes, tmp_path: Path) -> None:
    (tmp_path / PATH).write_bytes(content)
    store = Storage(str(tmp_path))
    for act in (lambda: read_champion(store), lambda: publish(store, 2)):
        with pytest.raises(
            InputError, match=r"champion\.json of storage .* is damaged \(.*\): put a good copy back"
        ) as e:
            act()
        assert "\n" not in str(e.value)
    assert (tmp_path / PATH).read_bytes() == content
