"""Batched reads: reads that requests of one process start at the same time share one pipeline and one snapshot."""

import asyncio
from collections.abc import Sequence
from typing import Any, NamedTuple

import psycopg

from annals.store.errors import StatementTooSlow, StoreUnavailable
from annals.store.postgres.connection import Step
from annals.store.postgres.database import Connection, Database, Row

BATCH = 256
"""Largest number of reads in one pipeline."""

GATHER_SECONDS = 0.002
"""Seconds that a read waits for a running pipeline before it takes a connection of its own."""

_BEGIN: Step = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", ())
_COMMIT: Step = ("COMMIT", ())
_POSITION = "SELECT coalesce(max(notification_id), 0) AS position FROM events"


class Lookup(NamedTuple):
    """A statement that looks up many keys at once.

    It takes one array for each part of a key. Each row it returns has `ord`, the number of its key, counted from 1. The
    rows of a lookup with `first` are delivered before those of the other lookups in the same pipeline.
    """

    sql: str
    parts: int
    first: bool = False


class ReadResult(NamedTuple):
    """Rows, and the position of the log at which they were read."""

    rows: Sequence[Row]
    position: int


class _Read:
    """One statement of a batch, and the futures of all callers that wait for its rows."""

    __slots__ = ("params", "sql", "waiting")

    def __init__(self, sql: str, params: Sequence[Any]) -> None:
        self.sql, self.params = sql, params
        self.waiting: list[asyncio.Future[ReadResult]] = []


class _Batch:
    """The reads of the next pipeline. Equal reads are sent once, and all keys of a lookup go in one statement."""

    def __init__(self) -> None:
        self.reads: list[_Read] = []
        self.lookups: dict[Lookup, dict[tuple[str, ...], list[asyncio.Future[ReadResult]]]] = {}
        self.size = 0
        self._same: dict[tuple[str, tuple[Any, ...]], _Read] = {}

    def add(self, sql: str, params: tuple[Any, ...], waiter: asyncio.Future[ReadResult]) -> None:
        self.size += 1
        try:
            read = self._same.get((sql, params))
            if read is None:
                read = self._same[sql, params] = _Read(sql, params)
                self.reads.append(read)
        except TypeError:  # lists among the parameters are not hashable: send the read on its own
            read = _Read(sql, params)
            self.reads.append(read)
        read.waiting.append(waiter)

    def add_key(self, lookup: Lookup, key: tuple[str, ...], waiter: asyncio.Future[ReadResult]) -> None:
        self.size += 1
        self.lookups.setdefault(lookup, {}).setdefault(key, []).append(waiter)

    def waiters(self) -> list[asyncio.Future[ReadResult]]:
        plain = [waiter for read in self.reads for waiter in read.waiting]
        return plain + [waiter for keys in self.lookups.values() for waiters in keys.values() for waiter in waiters]


def _retrieve(waiter: asyncio.Future[ReadResult]) -> None:
    """Mark an exception as retrieved: a request that fails for another reason does not await its lookups."""
    if not waiter.cancelled():
        waiter.exception()


class BatchedReads:
    """One per process. The first read is sent at once if no pipeline runs; reads that arrive meanwhile are sent
    together."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._loop = asyncio.get_running_loop()
        self._next = _Batch()
        self._running = 0
        self._timer: asyncio.Handle | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def rows(self, sql: str, params: tuple[Any, ...]) -> asyncio.Future[ReadResult]:
        """Run a statement. The future raises StoreUnavailable, or the error that Postgres reports for the statement."""
        waiter: asyncio.Future[ReadResult] = self._loop.create_future()
        self._next.add(sql, params, waiter)
        self._arrived()
        return waiter

    def look_up(self, lookup: Lookup, *key: str) -> asyncio.Future[ReadResult]:
        """Look up the rows of one key. The future raises the same errors as that of `rows`."""
        waiter: asyncio.Future[ReadResult] = self._loop.create_future()
        waiter.add_done_callback(_retrieve)
        self._next.add_key(lookup, key, waiter)
        self._arrived()
        return waiter

    def _arrived(self) -> None:
        if self._timer is None:
            if self._running == 0:
                self._timer = self._loop.call_soon(self._start)
            else:
                self._timer = self._loop.call_later(GATHER_SECONDS, self._start)
        elif self._next.size >= BATCH:
            self._start()

    def _start(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._next.size:
            batch, self._next = self._next, _Batch()
            self._running += 1
            task = self._loop.create_task(self._run(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _run(self, batch: _Batch) -> None:
        try:
            await self._run_with_retry(batch)
        except Exception as error:  # every waiting caller gets the error
            for waiter in batch.waiters():
                if not waiter.done():
                    waiter.set_exception(error)
        finally:
            self._running -= 1
            if self._next.size:
                self._start()

    async def _run_with_retry(self, batch: _Batch) -> None:
        deadline = self._loop.time() + self._database.retry_seconds
        while True:
            async with self._database.connection() as conn:
                try:
                    return await _pipeline(conn, batch)
                except psycopg.errors.FeatureNotSupported:
                    if self._loop.time() > deadline:
                        raise
                    await conn.close()  # its prepared statements are from before a migration: take another connection
                except psycopg.Error as error:
                    if not conn.closed:
                        return await _alone(conn, batch)
                    if self._loop.time() > deadline:
                        raise StoreUnavailable from error
            await asyncio.sleep(0.02)  # the connection died while it was idle: take another


async def _pipeline(conn: Connection, batch: _Batch) -> None:
    """Run all reads in one snapshot."""
    by_lookup = sorted(batch.lookups.items(), key=lambda item: not item[0].first)
    lookups = [(lookup.sql, _arrays(lookup, keys)) for lookup, keys in by_lookup]
    reads = [(read.sql, read.params) for read in batch.reads]
    _, (row,), *found = await conn.run_pipeline([_BEGIN, (_POSITION, ()), *lookups, *reads, _COMMIT])
    at = row["position"]
    for (_, keys), rows in zip(by_lookup, found, strict=False):
        _hand_out(keys, rows, at)
    for read, rows in zip(batch.reads, found[len(lookups) :], strict=False):
        _answer(read.waiting, ReadResult(rows, at))


async def _alone(conn: Connection, batch: _Batch) -> None:
    """Run each read in a snapshot of its own, so that a failing statement fails only its own callers."""
    await conn.rollback()
    for lookup, keys in sorted(batch.lookups.items(), key=lambda item: not item[0].first):
        try:
            found = await _one(conn, lookup.sql, _arrays(lookup, keys))
        except psycopg.Error as error:
            _fail([waiter for waiters in keys.values() for waiter in waiters], error)
        else:
            _hand_out(keys, found.rows, found.position)
    for read in batch.reads:
        try:
            _answer(read.waiting, await _one(conn, read.sql, read.params))
        except psycopg.Error as error:
            _fail(read.waiting, error)


async def _one(conn: Connection, sql: str, params: Sequence[Any]) -> ReadResult:
    async with conn.transaction():
        await conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY")
        position = await (await conn.execute(_POSITION)).fetchall()
        rows = await (await conn.execute(sql, params, binary=True)).fetchall()
    return ReadResult(rows, position[0]["position"])


def _arrays(lookup: Lookup, keys: dict[tuple[str, ...], Any]) -> list[list[str]]:
    return [[key[part] for key in keys] for part in range(lookup.parts)]


def _hand_out(
    keys: dict[tuple[str, ...], list[asyncio.Future[ReadResult]]], rows: Sequence[Row], position: int
) -> None:
    by_key: dict[int, list[Row]] = {}
    for row in rows:
        by_key.setdefault(row["ord"], []).append(row)
    for number, waiters in enumerate(keys.values(), 1):
        _answer(waiters, ReadResult(by_key.get(number, ()), position))


def _answer(waiters: list[asyncio.Future[ReadResult]], found: ReadResult) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(found)


def _fail(waiters: list[asyncio.Future[ReadResult]], error: Exception) -> None:
    if isinstance(error, psycopg.errors.QueryCanceled):
        error = StatementTooSlow()
    for waiter in waiters:
        if not waiter.done():
            waiter.set_exception(error)
