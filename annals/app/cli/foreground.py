"""One process of our own in the foreground: logs, the fast event loop, and signals that ask it to end."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from typing import Any

import click
import structlog
import uvloop

from annals.app.cli.options import chosen
from annals.app.logging import configure
from annals.app.settings import Settings

log = structlog.get_logger()

json_logs = click.option("--json", "json_logs", is_flag=True, help="Log JSON lines, whatever the settings say.")


def run(role: str, serve: Callable[[Settings], Coroutine[Any, Any, None]], *, json_logs: bool) -> None:
    """Run a role until it ends, configured by the environment alone."""
    settings = chosen(log_format="json" if json_logs else None)
    configure(settings, role)
    os.umask(0o077)
    try:
        uvloop.run(serve(settings))
    except Exception as error:
        log.critical("ended", reason=str(error) or type(error).__name__, exc_info=error)
        sys.exit(1)


def asked_to_end() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    return asked
