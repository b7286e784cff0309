"""Connections to Postgres: a pool for reading and following, and single connections for special purposes."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from datetime import datetime
from typing import Any, Self

import psycopg
from psycopg.rows import dict_row, tuple_row
from psycopg_pool import AsyncConnectionPool, PoolTimeout
from psycopg_pool.base import AttemptWithBackoff

from annals.store.errors import StatementTooSlow, StoreUnavailable
from annals.store.postgres.connection import Connection, Params, ReplicationUnknown, Row, Step
from annals.store.postgres.conninfo import conninfo
from annals.store.postgres.standby import QUERIES as STANDBY
from annals.store.postgres.standby import Standby, barrier

__all__ = ["Connection", "Database", "Params", "Row"]


class _Soon(AttemptWithBackoff):
    """Connects again after short pauses: the library's begin with a second, and callers are waiting."""

    INITIAL_DELAY = 0.05
    LONGEST_DELAY = 0.4

    def update_delay(self, now: float) -> None:
        super().update_delay(now)
        self.delay = min(self.delay, self.LONGEST_DELAY)


class _Pool(AsyncConnectionPool[Connection]):
    """The library's pool, which reconnects soon after a restart of Postgres."""

    async def _add_connection(self, attempt: AttemptWithBackoff | None, growing: bool = False) -> None:
        await super()._add_connection(attempt or _Soon(timeout=self.reconnect_timeout), growing)


class Database:
    """A pool of connections in autocommit, with rows as dicts in binary. Reads survive a restart of Postgres."""

    def __init__(
        self,
        url: str,
        *,
        size: int,
        name: str,
        retry_seconds: float,
        statement_seconds: int = 0,
        awaits_standby: bool = True,
    ) -> None:
        self.url, self.name, self.retry_seconds = url, name, retry_seconds
        self._pool = _Pool(
            conninfo(url, name, statement_seconds=statement_seconds),
            connection_class=Connection,
            kwargs={"autocommit": True, "row_factory": dict_row, "prepare_threshold": 2},
            min_size=min(2, size),
            max_size=size,
            open=False,
            timeout=retry_seconds,
            reconnect_timeout=5.0,
            name=name,
            configure=self._await_standby_once if awaits_standby else None,
        )
        self.standby = Standby(self.connect)
        self._known_server: Row | None = None

    @classmethod
    async def open(
        cls,
        url: str,
        *,
        size: int = 8,
        name: str = "annals",
        retry_seconds: float = 3.0,
        statement_seconds: int = 0,
        awaits_standby: bool = True,
    ) -> Self:
        """Open a pool of up to `size` connections; a call waits at most about `retry_seconds` for one.

        With `statement_seconds`, a longer statement is ended and raises StatementTooSlow. Without `awaits_standby`,
        reads after a crash may show commits that no synchronous standby has yet: good enough for the command line.
        Raises StoreUnavailable if the first connection cannot be made.
        """
        database = cls(
            url,
            size=size,
            name=name,
            retry_seconds=retry_seconds,
            statement_seconds=statement_seconds,
            awaits_standby=awaits_standby,
        )
        try:
            await database._pool.open(wait=True, timeout=retry_seconds + 2)
        except PoolTimeout as error:
            await database._pool.close()
            raise StoreUnavailable(f"The database cannot be reached: {error}") from error
        return database

    async def close(self) -> None:
        await self.standby.close()
        await self._pool.close()

    async def connect(self, purpose: str) -> Connection:
        """Open a connection outside the pool, in autocommit, named for its purpose. Raises psycopg.OperationalError."""
        return await Connection.connect(
            conninfo(self.url, f"{self.name} {purpose}"), autocommit=True, row_factory=dict_row
        )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Borrow a connection. Raises StoreUnavailable if none is free in time, or if it breaks.

        Errors of statements pass unchanged.
        """
        try:
            conn = await self._pool.getconn()
        except PoolTimeout as error:
            raise StoreUnavailable from error
        try:
            with self.standby.watching(conn, ends=True):
                yield conn
        except psycopg.OperationalError as error:
            if conn.closed:
                raise _unavailable(error) from error
            raise
        except psycopg.errors.ReadOnlySqlTransaction as error:
            await conn.close()  # the primary became a standby, and another host has taken over
            raise _unavailable(error) from error
        finally:
            await asyncio.shield(self._pool.putconn(conn))

    async def await_standby(self, conn: Connection) -> None:
        """Wait until the synchronous standby has everything that is visible here. Raises ReplicationUnknown."""
        with self.standby.watching(conn, ends=True):
            await barrier(conn)

    async def _await_standby_once(self, conn: Connection) -> None:
        """Wait for the standby before the first read from a server that was started since, perhaps after a crash.

        Such a server shows commits that were waiting for the standby, and that no standby may have.
        """
        try:
            ((server,),) = await conn.run_pipeline([(STANDBY["server"], ())])
            if server != self._known_server:
                if self.standby.away:
                    raise ReplicationUnknown
                await self.await_standby(conn)
                self._known_server = server
        except BaseException:
            await conn.close()
            raise

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Connection]:
        """Borrow a connection within a transaction: committed on leaving, rolled back on an exception."""
        async with self.connection() as conn, conn.transaction():
            yield conn

    async def rows(self, sql: str, params: Params = ()) -> list[Row]:
        """Run one query and return its rows. Raises StoreUnavailable if Postgres stays away."""
        return await self._read(sql, params, dict_row)

    async def tuples(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """Run one query and return its rows as tuples, which is cheaper for many rows."""
        return await self._read(sql, params, tuple_row)

    async def row(self, sql: str, params: Params = ()) -> Row | None:
        """Run one query and return its first row, or None."""
        found = await self.rows(sql, params)
        return found[0] if found else None

    async def run_pipeline(self, steps: Sequence[Step]) -> list[list[Row]]:
        """Run queries in one pipeline, for half the cost of `rows`, and return the rows of each.

        Each query sees all commits before its own start. Raises as `rows`; a cancellation closes the connection.
        """
        return await self._reading(lambda conn: conn.run_pipeline(steps))

    async def _read(self, sql: str, params: Params, factory: Any) -> list[Any]:
        async def read(conn: Connection) -> list[Any]:
            async with conn.cursor(binary=True, row_factory=factory) as cursor:
                return await (await cursor.execute(sql, params)).fetchall()

        return await self._reading(read)

    async def _reading(self, read: Callable[[Connection], Awaitable[list[Any]]]) -> list[Any]:
        deadline = asyncio.get_running_loop().time() + self.retry_seconds
        while True:
            async with self.connection() as conn:
                try:
                    return await read(conn)
                except psycopg.errors.FeatureNotSupported:
                    if asyncio.get_running_loop().time() > deadline:
                        raise
                    await conn.close()  # its prepared statements are older than a migration
                except psycopg.errors.QueryCanceled as error:
                    raise StatementTooSlow from error
                except psycopg.OperationalError as error:
                    if not conn.closed or asyncio.get_running_loop().time() > deadline:
                        raise _unavailable(error) from error
            await asyncio.sleep(0.02)  # the connection died while idle: take another one

    async def value(self, sql: str, params: Params = ()) -> Any:
        """Run one query and return the first column of its first row, or None."""
        found = await self.row(sql, params)
        return next(iter(found.values())) if found else None

    async def now(self) -> datetime:
        """Return the database's time, the clock that all processes share. Raises StoreUnavailable."""
        moment: datetime = await self.value("SELECT now()")
        return moment

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run one statement that writes, and return the number of its rows. Raises StoreUnavailable."""
        try:
            async with self.connection() as conn:
                return (await conn.execute(sql, params)).rowcount
        except psycopg.OperationalError as error:
            raise _unavailable(error) from error


def _unavailable(error: psycopg.Error) -> StoreUnavailable:
    return StoreUnavailable(f"{StoreUnavailable.default} ({str(error).strip()})")
