"""Fixtures: a log with the program's read models, and a history on it."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from annals.application.event_log import inline
from annals.projections.inline import CONSTRAINT_ERRORS
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.log.log import EventLog
from annals.store.postgres.database import Database
from tests.integration.projections.history import History


@pytest.fixture
async def log(database: Database, tmp_path: Path) -> AsyncIterator[EventLog]:
    contents = Contents(database, Blobs.open(tmp_path / "blobs"))
    opened = await EventLog.open(database, contents=contents, inline=inline, constraint_errors=CONSTRAINT_ERRORS)
    try:
        yield opened
    finally:
        await opened.close()


@pytest.fixture
async def history(log: EventLog, database: Database) -> History:
    """Return a history with a project."""
    made = History(log, database)
    await made.project()
    return made
