"""The event log for commands: opened from settings, with errors as sentences on the terminal."""

import asyncio
import contextlib
import getpass
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import click

from annals.application.event_log import open_log
from annals.domain.errors import DomainError, ProjectNotFound
from annals.domain.project import CONSOLE
from annals.settings import Settings
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.errors import StoreError
from annals.store.log.log import EventLog, Meta
from annals.store.postgres.database import Database
from annals.telemetry.logging import configure

T = TypeVar("T")


def actor() -> Meta:
    """Return the actor of a command: the user of the operating system."""
    with contextlib.suppress(OSError, KeyError):
        return Meta(actor=f"cli:{getpass.getuser()}")
    return Meta(actor="cli")


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[EventLog]:
    """The log of an instance whose database is up to date. Raises StoreUnavailable."""
    database = await Database.open(settings.database_url, size=2, name="annals cli", awaits_standby=False)
    try:
        log = await open_log(database, Contents(database, Blobs.open(settings.blobs)))
        try:
            yield log
        finally:
            await log.close()
    finally:
        await database.close()


async def known_project(log: EventLog, project: str | None) -> None:
    """Raise a ClickException for a project that never existed; a deleted project still has its history."""
    if project not in {None, CONSOLE} and not await log.reader.of_stream(f"project:{project}", limit=1):
        raise click.ClickException(f"There never was a project {project}. `annals projects list` shows the projects.")


async def known_function(log: EventLog, project: str, function_id: str) -> None:
    """Raise a ClickException for a function that never existed in the project; a deleted one still has its history."""
    if function_id and not await log.reader.of_stream(f"function:{project}:{function_id}", limit=1):
        raise click.ClickException(f"There never was a function {function_id} in project {project}.")


def with_log(settings: Settings, work: Callable[[EventLog], Coroutine[Any, Any, T]]) -> T:
    """Run a command's work on the log; an error ends the command with its sentence."""

    async def run() -> T:
        async with opened(settings) as log:
            return await work(log)

    configure(settings, "cli")  # standard output is for the answer alone
    try:
        return asyncio.run(run())
    except ProjectNotFound:  # its own sentence names an HTTP header
        raise click.ClickException("There is no such project. `annals projects list` shows the projects.") from None
    except (DomainError, StoreError) as error:
        raise click.ClickException(str(error)) from None
