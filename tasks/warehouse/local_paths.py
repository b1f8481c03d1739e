"""Local paths as people give them. Pure but for a look at the file system; knows nothing of Prefect."""

from __future__ import annotations

import errno
from pathlib import Path

from tasks.errors import InputError

IMPOSSIBLE = {errno.ENAMETOOLONG, errno.ELOOP}  # whether or not anything is there


def expand(what: str, given: str) -> Path:
    """The path, with a leading ~ replaced.

    what: what to call it in an error. Raises InputError for what cannot be a path: the home of nobody, a name that is
    too long or not UTF-8, links in a circle.
    """
    check_name(what, given)
    try:
        path = Path(given).expanduser()
        path.stat()
    except (RuntimeError, ValueError) as error:  # nobody's home, a zero byte
        raise InputError(f"{what} {given!r} cannot be a path ({str(error).rstrip('.')}): give another one.") from error
    except OSError as error:
        if error.errno in IMPOSSIBLE:
            raise InputError(f"{what} {given!r} cannot be a path ({error.strerror}): give another one.") from error
    return path


def check_name(what: str, name: str) -> None:
    """Raise InputError for a name that is not UTF-8: neither a manifest nor a server takes it."""
    try:
        name.encode()
    except UnicodeEncodeError as error:
        raise InputError(f"{what}: the name {name!r} is not UTF-8: rename it.") from error
