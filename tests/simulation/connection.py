"""The psycopg interface of the simulated Postgres: connections, cursors, pipelines, and a pool for `Database`."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from types import TracebackType
from typing import Any, Self

import psycopg
from psycopg.rows import tuple_row
from psycopg_pool import PoolTimeout

from annals.store.postgres.connection import Connection, Step
from annals.store.postgres.database import Database
from annals.store.postgres.standby import Standby
from tests.simulation.loop import NODE, Node
from tests.simulation.postgres import Postgres
from tests.simulation.transactions import Pipeline, Row, UnknownStatement

Operation = tuple[str, Any, bool, list[list[Row]]]


class SimulatedCursor:
    def __init__(self, conn: "SimulatedConnection", row_factory: Any = None) -> None:
        self._conn, self._tuples = conn, row_factory is tuple_row
        self._results: list[list[Row]] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return

    async def execute(self, text: str, params: Any = None, **_: Any) -> Self:
        self._results = []
        await self._conn.do((text, params, False, self._results))
        return self

    async def executemany(self, text: str, params: Sequence[Any], *, returning: bool = False) -> None:
        self._results = []
        await self._conn.do((text, list(params), True, self._results))

    async def fetchall(self) -> list[Any]:
        rows = self._results[0]
        return [tuple(row.values()) for row in rows] if self._tuples else [dict(row) for row in rows]

    async def fetchone(self) -> Any:
        rows = await self.fetchall()
        return rows[0] if rows else None

    def nextset(self) -> bool:
        if len(self._results) > 1:
            del self._results[0]
            return True
        return False

    @property
    def rowcount(self) -> int:
        return len(self._results[0]) if self._results else 0


class SimulatedConnection:
    """One session. As with psycopg, `closed` becomes true when an operation fails because of it."""

    def __init__(self, server: Postgres, node: Node | None) -> None:
        self._server = server
        self.session = server.open(node)
        self.closed = False
        self._run_steps: list[Operation] | None = None
        self._heard = asyncio.Event()
        self._payloads: list[str] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    def cursor(self, *, binary: bool = False, row_factory: Any = None) -> SimulatedCursor:
        return SimulatedCursor(self, row_factory)

    async def execute(self, text: str, params: Any = None, **options: Any) -> SimulatedCursor:
        return await SimulatedCursor(self).execute(text, params)

    async def do(self, operation: Operation) -> None:
        """Run one operation. Raises psycopg's errors."""
        if operation[0].startswith("LISTEN"):
            self.session.listen(operation[0].split()[1], self._hear)
        if self._run_steps is not None:
            self._run_steps.append(operation)
        else:
            await self._send([operation])

    async def run_pipeline(self, steps: Sequence[Step]) -> list[list[Row]]:
        """Run statements together. Outside a transaction they are one transaction."""
        results: list[list[list[Row]]] = [[] for _ in steps]
        operations = [(text, params, False, rows) for (text, params), rows in zip(steps, results, strict=True)]
        await self._send(operations, closing=True)
        return [[dict(row) for row in rows[0]] for rows in results]

    @asynccontextmanager
    async def pipeline(self) -> AsyncIterator[None]:
        self._run_steps = []
        try:
            yield
        finally:
            operations, self._run_steps = self._run_steps, None
        await self._send(operations)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[None]:
        await self.execute("BEGIN")
        try:
            yield
        except BaseException:
            if not self.closed:
                with suppress(psycopg.Error):  # as psycopg: the original error is raised
                    await self.execute("ROLLBACK")
            raise
        await self.execute("COMMIT")

    async def rollback(self) -> None:
        await self.execute("ROLLBACK")

    async def close(self) -> None:
        self.end()

    def end(self) -> None:
        self.closed = True
        self._server.end(self.session)

    def end_if_open(self) -> None:
        """Close the connection if it is in a transaction: it cannot be used again."""
        if self.session.tx is not None:
            self.end()

    def _hear(self, payload: str) -> None:
        self._payloads.append(payload)
        self._heard.set()

    async def notifies(self, *, timeout: float) -> AsyncIterator[psycopg.Notify]:
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while (left := deadline - loop.time()) > 0:
            self._require_session()
            try:
                async with asyncio.timeout(min(left, 1.0)):
                    await self._heard.wait()
            except TimeoutError:
                continue
            self._heard.clear()
            payloads, self._payloads = self._payloads, []
            for payload in payloads:
                yield psycopg.Notify("", payload, 0)

    def _require_session(self) -> None:
        if self.closed or not self.session.alive:
            self.closed = True
            raise psycopg.OperationalError("the connection is lost")

    async def _send(self, operations: list[Operation], *, closing: bool = False) -> None:
        """Send operations; with `closing` as `Connection.run_pipeline` does, otherwise as cursors do."""
        self._require_session()
        run_pipeline = Pipeline(self.session, operations, alone=closing and self.session.tx is None)
        try:
            await self._server.send(run_pipeline)
        except asyncio.CancelledError:
            if closing:
                self.closed = True
                self._server.hang_up(self.session)
            else:
                self._server.abandon(run_pipeline)
            raise
        except UnknownStatement as error:
            raise psycopg.ProgrammingError(f"the simulation does not know this statement: {error}") from error
        finally:
            self.closed = self.closed or not self.session.alive


class SimulatedPool:
    """A pool without a limit. It does not hand out broken connections again."""

    def __init__(self, database: "SimulatedDatabase") -> None:
        self._database = database
        self._idle: list[SimulatedConnection] = []

    async def getconn(self) -> SimulatedConnection:
        deadline = asyncio.get_running_loop().time() + self._database.retry_seconds
        while self._idle:
            conn = self._idle.pop()
            if not conn.closed:
                return conn
        while True:
            try:
                return await self._database.dial()
            except psycopg.OperationalError as error:
                if asyncio.get_running_loop().time() > deadline:
                    raise PoolTimeout(str(error)) from error
            await asyncio.sleep(0.2)

    def putconn(self, conn: SimulatedConnection) -> "asyncio.Future[None]":
        """Return the connection at once. Every read does this, so nothing waits for it."""
        conn.end_if_open()
        if not conn.closed:
            self._idle.append(conn)
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        done.set_result(None)
        return done

    async def close(self) -> None:
        for conn in self._idle:
            await conn.close()


class NoStandby(Standby):
    """A standby configuration without a standby: nothing needs to be watched."""

    @contextmanager
    def watching(self, conn: Connection, *, ends: bool) -> Iterator[None]:
        yield


class SimulatedDatabase(Database):
    """`Database` with its real reads and retries over simulated connections. Each node has its own."""

    def __init__(self, server: Postgres, *, retry_seconds: float = 3.0) -> None:
        self.url, self.name, self.retry_seconds = "simulated", "simulated", retry_seconds
        self.server = server
        self.standby = NoStandby(self.connect)
        self._pool: Any = SimulatedPool(self)

    async def connect(self, purpose: str) -> Any:
        return await self.dial()

    async def dial(self) -> SimulatedConnection:
        await asyncio.sleep(0.001)
        return SimulatedConnection(self.server, NODE.get())
