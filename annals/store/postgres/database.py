"""Connections to Postgres: one pool a process for reading and following, and single ones for who needs their own."""

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
from annals.store.postgres.binding import Params
from annals.store.postgres.connection import Connection, Row, Step
from annals.store.postgres.conninfo import conninfo
from annals.store.postgres.replication import ReplicationUnknown
from annals.store.postgres.standby import QUERIES as STANDBY
from annals.store.postgres.standby import Standby, barrier

__all__ = ["Connection", "Database", "Params", "Row"]


class _Soon(AttemptWithBackoff):
    """Tries to connect as often as somebody who waits for it wants: the library's pauses begin with a second."""

    INITIAL_DELAY = 0.05
    LONGEST_DELAY = 0.4

    def update_delay(self, now: float) -> None:
        super().update_delay(now)
        self.delay = min(self.delay, self.LONGEST_DELAY)


class _Pool(AsyncConnectionPool[Connection]):
    """The library's, which is soon there again after a restart of Postgres."""

    async def _add_connection(self, attempt: AttemptWithBackoff | None, growing: bool = False) -> None:
        await super()._add_connection(attempt or _Soon(timeout=self.reconnect_timeout), growing)


class Database:
    """A pool of connections in autocommit, with rows as dicts in binary; reads outlive a restart of Postgres."""

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
        """Open a pool of up to `size` connections; a call waits at most about `patience` seconds for one.

        With `statement_seconds`, a statement of the pool that takes longer is ended: StatementTooSlow. Unless it
        `settles`, what no synchronous standby has yet may be read after a crash: for a person's own looks.
        Raises StoreUnavailable when the first connection cannot be made.
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
        """A connection of one's own, in autocommit, named for its purpose. Raises psycopg.OperationalError."""
        return await Connection.connect(
            conninfo(self.url, f"{self.name} {purpose}"), autocommit=True, row_factory=dict_row
        )

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[Connection]:
        """Borrow a connection. Raises StoreUnavailable when none is free in time, and when it breaks.

        Errors of statements pass through.
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
            await conn.close()  # a primary that became a standby: another host has taken its place
            raise _unavailable(error) from error
        finally:
            await asyncio.shield(self._pool.putconn(conn))

    async def await_standby(self, conn: Connection) -> None:
        """Return once all that is visible on a connection is where a commit is to be. Raises ReplicationUnknown."""
        with self.standby.watching(conn, ends=True):
            await barrier(conn)

    async def _await_standby_once(self, conn: Connection) -> None:
        """Before anything is read of a server that was started since, perhaps after a crash.

        That one shows commits that were still waiting for the standby, and which no standby has yet.
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
        """Run one read and return its rows. Raises StoreUnavailable when Postgres stays away."""
        return await self._read(sql, params, dict_row)

    async def tuples(self, sql: str, params: Params = ()) -> list[tuple[Any, ...]]:
        """As `rows`, for many rows that are gone through at once."""
        return await self._read(sql, params, tuple_row)

    async def row(self, sql: str, params: Params = ()) -> Row | None:
        """The first row of one read, or None."""
        found = await self.rows(sql, params)
        return found[0] if found else None

    async def run_pipeline(self, steps: Sequence[Step]) -> list[list[Row]]:
        """Run some reads in one trip, for half of what `rows` costs: for those made often.

        Each sees what was committed before it began. Raises as `rows`; who is cancelled costs a connection.
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
                    await conn.close()  # its prepared statements are of before a migration: take another
                except psycopg.errors.QueryCanceled as error:
                    raise StatementTooSlow from error
                except psycopg.OperationalError as error:
                    if not conn.closed or asyncio.get_running_loop().time() > deadline:
                        raise _unavailable(error) from error
            await asyncio.sleep(0.02)  # a connection that died while idle: take another

    async def value(self, sql: str, params: Params = ()) -> Any:
        """The first column of the first row of one read, or None."""
        found = await self.row(sql, params)
        return next(iter(found.values())) if found else None

    async def now(self) -> datetime:
        """The database's time: the one clock that all processes share. Raises StoreUnavailable."""
        moment: datetime = await self.value("SELECT now()")
        return moment

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run one statement that is no read of the log, and return the number of rows it touched."""
        try:
            async with self.connection() as conn:
                return (await conn.execute(sql, params)).rowcount
        except psycopg.OperationalError as error:
            raise _unavailable(error) from error


def _unavailable(error: psycopg.Error) -> StoreUnavailable:
    return StoreUnavailable(f"{StoreUnavailable.default} ({str(error).strip()})")
