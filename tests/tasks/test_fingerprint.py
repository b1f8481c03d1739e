"""What counts as a change of code, tried on real packages on the disk."""

from __future__ import annotations

import ast
import importlib
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tasks import fingerprint
from tasks.errors import InputError
from tasks.fingerprint import code_fingerprint, freeze_code, library_versions, normalise

FILES = {
    "__init__.py": "",
    "stage.py": "from . import near, sql\nfrom .deep.inner import far\n\ndef run():\n    return near.f() + far()\n",
    "near.py": "def f():\n    return 1\n",
    "deep/__init__.py": "",
    "deep/inner.py": "from ..helper import g\n\ndef far():\n    return g()\n",
    "helper.py": "def g():\n    return 2\n",
    "stranger.py": "def unused():\n    return 3\n",
    "sql/__init__.py": "",
    "sql/query.sql": "SELECT 1",
}


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    folder = tmp_path / "a_package"
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield folder
    for name in [name for name in sys.modules if name.split(".")[0] == "a_package"]:
        del sys.modules[name]


def fresh_fingerprint() -> dict[str, str]:
    fingerprint._parse_module.cache_clear()
    importlib.invalidate_caches()
    return code_fingerprint("a_package.stage")


def test_the_closure_follows_relative_imports_and_packages(package: Path) -> None:
    assert set(fresh_fingerprint()) == {
        "a_package",
        "a_package.stage",
        "a_package.near",
        "a_package.deep",
        "a_package.deep.inner",
        "a_package.helper",
        "a_package.sql",
        "query.sql",
    }


@pytest.mark.parametrize(
    ("name", "text", "counted_as"),
    [
        ("stage.py", FILES["stage.py"].replace("+", "-"), "a_package.stage"),
        ("near.py", "def f():\n    return 10\n", "a_package.near"),
        ("helper.py", "def g():\n    return 20\n", "a_package.helper"),
        ("deep/__init__.py", "x = 1\n", "a_package.deep"),
        ("__init__.py", "x = 1\n", "a_package"),
        ("sql/query.sql", "SELECT 2", "query.sql"),
    ],
)
def test_what_counts(name: str, text: str, counted_as: str, package: Path) -> None:
    before = fresh_fingerprint()
    (package / name).write_text(text)
    after = fresh_fingerprint()
    assert {part for part in before if before[part] != after[part]} == {counted_as}


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("near.py", lambda text: '"""A docstring."""\n' + text),
        ("near.py", lambda text: text.replace("return", '"""What it does."""\n    return')),
        ("near.py", lambda text: "# a comment\n\n\n" + text + "\n"),
        ("near.py", lambda text: text.replace("return 1", "return (1)")),
        ("near.py", lambda text: text.replace("    return", '    logger.info("%s", 1)\n    return')),
        ("near.py", lambda text: text.replace("    return", '    get_run_logger().warning("x")\n    return')),
        ("stranger.py", lambda text: text.replace("3", "4")),
    ],
)
def test_what_does_not_count(name: str, change: Callable[[str], str], package: Path) -> None:
    before = fresh_fingerprint()
    (package / name).write_text(change((package / name).read_text()))
    assert fresh_fingerprint() == before


def test_a_branch_that_only_logs_is_no_empty_body() -> None:
    text = normalise(ast.parse("if x:\n    logger.info('a')\nelse:\n    y = 1\n"))
    assert text == normalise(ast.parse("if x:\n    pass\nelse:\n    y = 1\n"))


def test_the_libraries_that_make_numbers_are_listed() -> None:
    assert set(library_versions()) == {"python", "duckdb", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy"}


def test_code_that_was_edited_after_it_was_loaded_is_refused(package: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the old code's result would stand under the new code's key."""
    module = importlib.import_module("a_package.near")
    monkeypatch.setitem(sys.modules, "tasks.a_test_module", module)
    monkeypatch.setattr(fingerprint, "PROCESS_START", time.time() + 60)
    freeze_code()
    monkeypatch.setattr(fingerprint, "PROCESS_START", (package / "near.py").stat().st_mtime - 1)
    with pytest.raises(InputError, match="was edited after this process had loaded it"):
        freeze_code()


def test_many_threads_may_ask_at_once(package: Path) -> None:
    """ast.parse in two threads at once raises SystemError on Python 3.11."""
    with ThreadPoolExecutor(16) as pool:
        for _ in range(20):
            fingerprint._parse_module.cache_clear()
            assert len(set(map(str, pool.map(lambda _: code_fingerprint("tasks.evaluate"), range(16))))) == 1
