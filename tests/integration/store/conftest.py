"""Fixtures: an open log with the accounts of `ledger.py`."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Protocol

import psycopg
import pytest

from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.log.log import EventLog, Meta
from annals.store.postgres.database import Database
from tests.integration.store import ledger

META = Meta(actor="user:u1", request="r1", address="10.0.0.1")


class OpenLog(Protocol):
    def __call__(self) -> AbstractAsyncContextManager[EventLog]: ...


@pytest.fixture
def accounts_url(database_url: str) -> str:
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(ledger.TABLE.encode())
    return database_url


@pytest.fixture
def open_log(accounts_url: str, tmp_path: Path) -> OpenLog:
    """Return a function that opens one more log on the same database, as another process does."""

    @asynccontextmanager
    async def opened() -> AsyncIterator[EventLog]:
        database = await Database.open(accounts_url, retry_seconds=30.0)
        contents = Contents(database, Blobs.open(tmp_path / "blobs"))
        log = await EventLog.open(
            database, contents=contents, inline=ledger.inline, constraint_errors=ledger.CONSTRAINT_ERRORS
        )
        try:
            yield log
        finally:
            await log.close()
            await database.close()

    return opened


@pytest.fixture
async def log(open_log: OpenLog) -> AsyncIterator[EventLog]:
    async with open_log() as opened:
        yield opened
