"""The log of a database, opened as an API process has it."""

import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from annals.projections.inline import REFUSALS, inline
from annals.store.blobs import Blobs
from annals.store.contents import Contents
from annals.store.database import Database
from annals.store.log import EventLog


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[EventLog]:
    with tempfile.TemporaryDirectory(prefix="annals-bench-") as folder:
        database = await Database.open(url)
        contents = Contents(database, Blobs.open(folder))
        log = await EventLog.open(database, contents=contents, inline=inline, refusals=REFUSALS)
        try:
            yield log
        finally:
            await log.close()
            await database.close()
