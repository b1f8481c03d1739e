"""What code stands behind a task: its module and every first-party module that this one imports, transitively.

A module counts by its syntax tree without docstrings, comments, layout and logging calls, so that a reworded help
text recomputes nothing. The .sql files in a package count with it.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.util
import platform
import sys
import threading
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from typing import NamedTuple

from tasks.errors import InputError

LIBRARIES = ("duckdb", "numpy", "pandas", "pyarrow", "scikit-learn", "scipy")
LOGGERS = {"log", "logger", "logging", "get_run_logger", "get_logger"}
PROCESS_START = time.time()  # about when this process read its code
_parsing = threading.Lock()  # ast.parse in two threads at once raises SystemError on Python 3.11
LOG_METHODS = {"debug", "info", "warning", "error", "exception", "critical", "log"}


@functools.cache
def library_versions() -> dict[str, str]:
    """Versions that may change a result: the numerical libraries and Python's minor version."""
    major, minor, _ = platform.python_version_tuple()
    return {"python": f"{major}.{minor}"} | {name: version(name) for name in LIBRARIES}


def code_fingerprint(module: str) -> dict[str, str]:
    """Hashes of `module`, of the first-party modules behind it, and of their SQL, by name.

    First-party is what lives in the same top-level package as `module`, or in `tasks`. A module is read once in the
    life of a process: see `freeze_code`.
    """
    packages = {module.split(".")[0], "tasks"}
    found: dict[str, str] = {}
    waiting = [module]
    while waiting:
        name = waiting.pop()
        if name in found or (code := _read_module(name)) is None:
            continue
        found[name] = code.digest
        found |= code.sql
        waiting += [n for n in code.imports if n.split(".")[0] in packages]
    return dict(sorted(found.items()))


def freeze_code() -> None:
    """Fingerprint every first-party module that is loaded, before the first task needs it.

    Keys must describe the code that runs, not what is on the disk later. Raises InputError if a file was edited
    between the start of the process and now.
    """
    for name, module in sorted(sys.modules.items()):
        path = getattr(module, "__file__", None)
        if name.split(".")[0] not in ("flows", "tasks") or path is None:
            continue
        if Path(path).stat().st_mtime > PROCESS_START:
            raise InputError(f"{name} was edited after this process had loaded it: start the run again.")
        code_fingerprint(name)


class _Code(NamedTuple):
    digest: str
    imports: tuple[str, ...]
    sql: dict[str, str]


def _read_module(name: str) -> _Code | None:
    with _parsing:
        return _parse_module(name)


@functools.cache
def _parse_module(name: str) -> _Code | None:
    source = _source_of(name)
    if source is None:
        return None
    is_package = source.name == "__init__.py"
    tree = ast.parse(source.read_text(encoding="utf-8"))
    imports = tuple(_imports(tree, name, is_package))
    sql = source.parent.glob("*.sql") if is_package else ()
    return _Code(
        digest=hashlib.sha256(normalise(tree).encode()).hexdigest(),
        imports=imports,
        sql={path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sql},
    )


def normalise(tree: ast.Module) -> str:
    """The text of a syntax tree without what cannot change a result."""
    return ast.dump(_Essence().visit(tree))


class _Essence(ast.NodeTransformer):
    """Drops docstrings and logging calls; a body left empty gets a `pass`."""

    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        for field in ("body", "orelse", "finalbody"):
            statements = getattr(node, field, None)
            if isinstance(statements, list) and statements:
                kept = [s for s in statements if not _is_text(s) and not _is_logging(s)]
                setattr(node, field, kept or [ast.Pass()])
        return node


def _is_text(node: ast.AST) -> bool:
    """A string that stands alone: a docstring, or a comment in disguise."""
    return isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)


def _is_logging(node: ast.AST) -> bool:
    if not (isinstance(node, ast.Expr) and isinstance(node.value, ast.Call)):
        return False
    function = node.value.func
    if not (isinstance(function, ast.Attribute) and function.attr in LOG_METHODS):
        return False
    owner = function.value.func if isinstance(function.value, ast.Call) else function.value
    name = owner.attr if isinstance(owner, ast.Attribute) else getattr(owner, "id", None)
    return name in LOGGERS


def _imports(tree: ast.Module, module: str, is_package: bool) -> Iterator[str]:
    """Every name that may be an imported module, parent packages included (importing a.b runs a/__init__ too)."""
    package = module if is_package else module.rpartition(".")[0]
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield from _with_parents(alias.name)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = importlib.util.resolve_name("." * node.level + base, package)
            yield from _with_parents(base)
            yield from (f"{base}.{alias.name}" for alias in node.names)
    yield from _with_parents(package)


def _with_parents(name: str) -> Iterator[str]:
    parts = name.split(".")
    yield from (".".join(parts[:end]) for end in range(1, len(parts) + 1) if parts[0])


def _source_of(name: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:  # `from module import function`: the parent is no package
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return Path(spec.origin)
