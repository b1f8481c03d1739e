"""A flow as a command: the signature is the options, a mistake is one sentence and exit code 1."""

from __future__ import annotations

import logging
import os
import sys
from typing import Any

import cyclopts
from prefect import Flow
from prefect.client.schemas.objects import State
from prefect.logging.handlers import PrefectConsoleHandler


def run_command(flow: Flow[..., Any]) -> None:
    """Run a flow with the options of the command line, print the path that it returns, and exit."""
    app = cyclopts.App(name=f"python -m flows.{flow.fn.__name__}", result_action="return_value")
    app.default(flow.fn)
    _, bound, _ = app.parse_args(sys.argv[1:])
    _quieten_console()
    state: State[Any] = flow(*bound.args, **bound.kwargs, return_state=True)  # type: ignore[assignment]
    if not state.is_completed():
        print(f"{flow.name}: {state.message}", file=sys.stderr)
        sys.exit(1)
    print(state.result())


def _quieten_console() -> None:
    """Keep Prefect's log off the terminal, where stages and errors are shown in words; its server has it all.

    Whoever sets PREFECT_LOGGING_LEVEL wants to see it.
    """
    if "PREFECT_LOGGING_LEVEL" in os.environ:
        return
    for handler in logging.getLogger().handlers:
        if isinstance(handler, PrefectConsoleHandler):
            handler.addFilter(lambda record: not record.name.startswith("prefect"))
