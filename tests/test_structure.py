"""The house keeps its shape: dependencies point one way, and nothing grows too large."""

from __future__ import annotations

import ast
import importlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import ROOT

MODULES = sorted(path for room in ("flows", "tasks") for path in (ROOT / room).rglob("*.py"))
FOLDERS = {"flows", "tasks", "tests", "deployments"}
MAX_FILE, MAX_BODY = 250, 40


def imports(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} has a relative import"
            yield node.module or ""
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def may_import(path: Path, name: str) -> bool:
    room, module = path.relative_to(ROOT).parts[:2]
    top = name.split(".")[0]
    if room == "flows":
        return True
    if module == "ml":
        return top not in {"flows", "prefect", "google", "gcsfs", "fsspec", "pyarrow", "duckdb"} and (
            top != "tasks" or name == "tasks" or name.startswith("tasks.ml")
        )
    if module == "warehouse":
        return top not in {"flows", "prefect"} and (
            top != "tasks" or name == "tasks" or name.startswith(("tasks.warehouse", "tasks.errors"))
        )
    return top != "flows" and name != "tasks.parameters"


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_dependencies_point_one_way(path: Path) -> None:
    assert [name for name in imports(path) if not may_import(path, name)] == []


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_sizes(path: Path) -> None:
    text = path.read_text()
    assert text.count("\n") <= MAX_FILE
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            body = node.body[1:] if ast.get_docstring(node) else node.body
            assert not body or (body[-1].end_lineno or 0) - body[0].lineno < MAX_BODY, node.name


def test_no_other_folder_at_the_top() -> None:
    tracked = {path.name for path in ROOT.iterdir() if path.is_dir() and not path.name.startswith(".")}
    assert {name for name in tracked if not name.endswith(".egg-info")} - {"store"} == FOLDERS


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "benchmarks").glob("[!_]*.py")), ids=lambda path: path.stem)
def test_benchmarks_find_what_they_import(path: Path) -> None:
    """Nothing else executes them before somebody wants a figure."""
    importlib.import_module(f"tests.benchmarks.{path.stem}")


def test_the_lock_file_has_hashes_and_no_address() -> None:
    text = (ROOT / "requirements.lock").read_text()
    assert "--hash=sha256:" in text
    assert "://" not in text
