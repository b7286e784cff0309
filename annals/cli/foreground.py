"""Runs a role in the foreground: logs, uvloop, and signals that end it."""

import asyncio
import os
import signal
import sys
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import click
import structlog
import uvloop

from annals.cli.options import chosen
from annals.executor.errors import (
    ApiUnreachable,
    BubblewrapUnusable,
    EngineAway,
    ExecutorMissing,
    NetworkUnusable,
    WorkFolderTaken,
)
from annals.http.listening import Unavailable
from annals.settings import Invalid, Settings
from annals.store.content.blobs import BlobError
from annals.store.errors import MasterKeyWrong, MigrationError, StoreUnavailable, UrlInvalid
from annals.supervisor.notify import keep_health_file
from annals.telemetry.logging import configure

log = structlog.get_logger()

_EXPLAINED = (
    ApiUnreachable,
    Invalid,
    NetworkUnusable,
    MasterKeyWrong,
    MigrationError,
    StoreUnavailable,
    UrlInvalid,
    BlobError,
    BubblewrapUnusable,
    EngineAway,
    ExecutorMissing,
    WorkFolderTaken,
    Unavailable,
)
"""Errors that an operator can correct: logged as a sentence, without a traceback."""

json_logs = click.option("--json", "json_logs", is_flag=True, help="Log JSON lines, whatever the settings are.")


def run(role: str, serve: Callable[[Settings], Coroutine[Any, Any, None]], *, json_logs: bool) -> None:
    """Run a role until it ends, configured by the environment alone."""
    settings = chosen(log_format="json" if json_logs else None)
    configure(settings, role)
    if settings.health_file:
        keep_health_file(Path(settings.health_file))
    os.umask(0o077)
    try:
        uvloop.run(serve(settings))
    except _EXPLAINED as error:  # the sentence says what to do; a traceback would not help
        log.critical("ended", reason=str(error))
        sys.exit(1)
    except Exception as error:
        log.critical("ended", reason=str(error) or type(error).__name__, exc_info=error)
        sys.exit(1)


def asked_to_end() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set."""
    asked = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, asked.set)
    return asked
