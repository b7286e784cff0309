"""An event log opened as an API process opens it."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from annals.application.event_log import inline
from annals.projections.inline import CONSTRAINT_ERRORS
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.log.log import EventLog
from annals.store.postgres.database import Database


@asynccontextmanager
async def open_log(url: str) -> AsyncIterator[EventLog]:
    with tempfile.TemporaryDirectory(prefix="annals-bench-") as folder:
        database = await Database.open(url)
        contents = Contents(database, Blobs.open(folder))
        log = await EventLog.open(database, contents=contents, inline=inline, constraint_errors=CONSTRAINT_ERRORS)
        try:
            yield log
        finally:
            await log.close()
            await database.close()
