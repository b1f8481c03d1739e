"""A flow as a command: the signature is the options, a mistake is one sentence and exit code 1."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from inspect import signature
from itertools import pairwise
from typing import Any, NoReturn

import cyclopts
import httpx
from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.logging.handlers import PrefectConsoleHandler
from prefect.settings import PREFECT_API_URL
from pydantic import ValidationError

from tasks.server import answers

OPTIONS = cyclopts.Parameter(negative_iterable=())  # no --training.empty-regularization
INTERRUPTED = 130  # what a shell reports for Ctrl-C
PATIENCE_SECONDS = 30.0  # a server may be busy, or be restarted under a run


def run_command(flow: Flow[..., Any]) -> None:
    """Run a flow with the options of the command line, print what it returns, and exit.

    Exit code 0 after a good run, 1 with one sentence on standard error after a failed one, a wrong option or the loss
    of Prefect's server, 130 after SIGINT or SIGTERM.
    """
    _require_text(sys.argv[1:])
    name = f"python -m flows.{flow.fn.__name__}"
    app = cyclopts.App(
        name=name, version=version("playlist-models"), result_action="return_value", default_parameter=OPTIONS
    )
    app.default(flow.fn)
    try:
        command, bound, _ = app.parse_args(sys.argv[1:], print_error=False, exit_on_error=False)
    except cyclopts.CycloptsError as error:
        sys.exit("\n".join(_mistakes(app, flow.fn, sys.argv[1:])) or _sentence(error, sys.argv[1:]))
    if command is not flow.fn:  # --help or --version
        with _whole_output():
            command(*bound.args, **bound.kwargs)
            sys.stdout.flush()
        return
    _quieten_console()
    _check_server()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ends like Ctrl-C, and takes a temporary server along
    try:
        state: State[Any] = flow(*bound.args, **bound.kwargs, return_state=True)  # type: ignore[assignment]
    except KeyboardInterrupt:
        _leave(f"{flow.name}: interrupted; the same command goes on from what is finished.", INTERRUPTED)
    except httpx.TransportError:
        _leave(_lost_server(PREFECT_API_URL.value()), 1)
    if not state.is_completed():
        sys.exit(f"{flow.name}: {state.message}")
    with _whole_output("the run is complete, but "):
        print(state.result(), flush=True)


@contextmanager
def _whole_output(before: str = "") -> Iterator[None]:
    """Exit with a sentence if what is printed does not arrive."""
    if sys.stdout is None:
        sys.exit(f"{before}standard output is closed.")
    try:
        yield
    except OSError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing more is flushed there at the end
        sys.exit(f"{before}standard output cannot be written ({error.strerror}).")


def _require_text(tokens: list[str]) -> None:
    """Exit with a sentence if a word is not text: Prefect keeps parameters as UTF-8."""
    for token in tokens:
        try:
            token.encode()
        except UnicodeEncodeError:
            sys.exit(
                f"{token!a} is not UTF-8 text: use another name, or a locale with UTF-8 (LC_ALL=C.UTF-8) if the "
                "name looks right."
            )


def _check_server() -> None:
    """Exit with a sentence if PREFECT_API_URL names no server; say so if a temporary one will be started."""
    url = PREFECT_API_URL.value()
    if os.environ.get("PREFECT_API_URL") == "":
        sys.exit("PREFECT_API_URL is empty: unset it, or give the address of a Prefect server (it ends in /api).")
    if not url:
        # Prefect's own server would report to its makers.
        os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "DO_NOT_TRACK": "1"}
        print("no PREFECT_API_URL: a temporary Prefect server starts for this run", file=sys.stderr)
    elif not answers(url, PATIENCE_SECONDS):
        sys.exit(
            f"no Prefect server answers at PREFECT_API_URL={url}: start it (make server), correct the address (it ends "
            "in /api), or unset the variable."
        )
    else:
        threading.Thread(target=watch_server, args=(url, PATIENCE_SECONDS), daemon=True).start()


def watch_server(api_url: str, patience_seconds: float) -> None:
    """End the process with a sentence once its Prefect server has not answered for so many seconds.

    Without a server Prefect waits many seconds at every step of a run; what is finished is in the storage.
    """
    heard = time.monotonic()
    while time.monotonic() - heard < patience_seconds:
        time.sleep(min(2.0, patience_seconds / 4))
        if answers(api_url):
            heard = time.monotonic()
    _leave(_lost_server(api_url), 1)


def _lost_server(api_url: str | None) -> str:
    return (
        f"the Prefect server at {api_url or 'its temporary address'} no longer answers: start it again (make server); "
        "the same command goes on from what is finished."
    )


def _leave(message: str, code: int) -> NoReturn:
    """Say why and exit; at once if there is no server, where Prefect would try for long to deliver its events."""
    print(message, file=sys.stderr, flush=True)
    url = PREFECT_API_URL.value()
    if url and not answers(url):
        os._exit(code)
    sys.exit(code)


def _mistakes(app: cyclopts.App, fn: Callable[..., Any], tokens: list[str]) -> Iterator[str]:
    """What is wrong with each option, tried one by one: parsing them together stops at the first."""
    required = [name for name, parameter in signature(fn).parameters.items() if parameter.default is parameter.empty]
    starts = [i for i, token in enumerate(tokens) if i == 0 or token.startswith("--")]
    for start, end in pairwise([*starts, len(tokens)]):
        option = tokens[start:end]
        others = [f"--{name.replace('_', '-')}=any" for name in required]
        others = [other for other in others if other.split("=")[0] != option[0].split("=")[0]]
        try:
            app.parse_args(option + others, print_error=False, exit_on_error=False)
        except cyclopts.CycloptsError as error:
            yield _sentence(error, option)


def _sentence(error: cyclopts.CycloptsError, option: list[str]) -> str:
    if isinstance(error, cyclopts.RepeatArgumentError):
        return (
            f"{error.token.keyword}: given more than once, or beside its opposite (--no-…): give it once. See --help."
        )
    if isinstance(error, cyclopts.UnusedCliTokensError):
        return f"{' '.join(error.unused_tokens or [])}: not an option; options begin with --. See --help."
    if not isinstance(error.__cause__, ValidationError):
        return " ".join(str(error).split())
    rule = error.__cause__.errors()[0]["msg"].replace("Input should be", "must be").removeprefix("Value error, ")
    return f"{' '.join(option)}: {rule}. See --help."


def _quieten_console() -> None:
    """Keep Prefect's log off the terminal, where stages and errors are shown in words; its server has it all.

    Whoever sets PREFECT_LOGGING_LEVEL wants to see it.
    """
    if "PREFECT_LOGGING_LEVEL" in os.environ:
        return
    for name in ("", "prefect._internal"):
        for handler in logging.getLogger(name).handlers:
            if isinstance(handler, PrefectConsoleHandler):
                handler.addFilter(lambda record: not record.name.startswith("prefect"))
