"""A connection that also sends many statements in one trip, for a fraction of what cursors in a pipeline cost.

Why it speaks to libpq itself: docs/adr/0022-pipelines-over-libpq.md.
"""

import asyncio
from collections.abc import Sequence
from itertools import count
from typing import Any, NamedTuple

import psycopg
from psycopg import errors as pg
from psycopg import pq
from psycopg.abc import RV, Buffer, PQGen
from psycopg.adapt import Transformer
from psycopg.rows import AsyncRowFactory, DictRow, tuple_row

from annals.store.postgres import replication
from annals.store.postgres.binding import Params, bound
from annals.store.postgres.replication import ReplicationUnknown

Row = dict[str, Any]
Step = tuple[str, Params]
"""A statement and its parameters."""

PLANS = 200
"""Statements that one connection remembers; before there are more, all are forgotten."""

_BINARY = pq.Format.BINARY
_STALE = (pg.InvalidSqlStatementName, pg.FeatureNotSupported)
"""A prepared statement is gone, or its rows are no longer those of before a migration."""

_Key = tuple[bytes, tuple[int, ...]]


class _Plan:
    """A statement with parameters of certain types: under which name it is prepared, and how its columns are called."""

    __slots__ = ("columns", "name")

    def __init__(self) -> None:
        self.name = b""
        self.columns: tuple[str, ...] = ()

    def row(self, values: Sequence[Any]) -> Row:
        return dict(zip(self.columns, values, strict=True))


class _Ready(NamedTuple):
    """A step as it is sent."""

    key: _Key
    values: Sequence[Buffer | None]
    formats: Sequence[pq.Format]


class Connection(psycopg.AsyncConnection[DictRow]):
    """Psycopg's own, with `trip` beside its cursors.

    A commit whose wait for a synchronous standby was ended is an error on it, not the success that Postgres makes of
    it: ReplicationUnknown, and the connection is closed, as after any other loss of an answer.
    """

    def __init__(self, pgconn: pq.abc.PGconn, row_factory: AsyncRowFactory[Any] = tuple_row) -> None:
        super().__init__(pgconn, row_factory)
        self._plans: dict[_Key, _Plan] = {}
        self._names = count(1)
        self._transformer = Transformer(self)
        self._replication_unknown = False
        self.add_notice_handler(self._note)

    @property
    def backend_pid(self) -> int:
        """The process at the other end, 0 where there is none any more."""
        return 0 if self.closed else self.pgconn.backend_pid

    def _note(self, notice: pg.Diagnostic) -> None:
        if replication.is_canceled_wait(notice):
            self._replication_unknown = True

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's own
    ) -> RV:
        """As psycopg's, through which all of its cursors and transactions go. Raises ReplicationUnknown."""
        try:
            found = await super().wait(gen, interval, timeout)
        finally:
            if self._replication_unknown:
                await self.close()
        if self._replication_unknown:
            raise ReplicationUnknown
        return found

    async def run_pipeline(self, steps: Sequence[Step]) -> list[list[Row]]:
        """Send statements together and return the rows of each, which were read in binary.

        Outside a transaction they are one of their own, which ends with the trip: all of them hold, or none does. Each
        sees what was committed before it began, which may be more than when the trip did.

        Raises what Postgres says of the first statement that it refuses, and ProgrammingError for parameters that do
        not fit, with nothing sent. Who is cancelled on the way closes the connection: how far it came is not known.
        Raises ReplicationUnknown.
        """
        outside = self.pgconn.transaction_status == pq.TransactionStatus.IDLE
        try:
            return await self._run_steps(steps)
        except _STALE:
            if not outside or self.closed:
                raise
        await self.rollback()
        await self._forget()
        return await self._run_steps(steps)

    async def _run_steps(self, steps: Sequence[Step]) -> list[list[Row]]:
        if len(self._plans) + len(steps) > PLANS:
            await self._forget()
        ready = [self._ready(sql, params) for sql, params in steps]
        async with self.lock:
            try:
                self.pgconn.enter_pipeline_mode()
                commands = self._send(ready)
                results = await self._results()
                if self._replication_unknown:
                    raise ReplicationUnknown
                self.pgconn.exit_pipeline_mode()
            except BaseException:
                await self.close()
                raise
        return self._rows(commands, results)

    async def _forget(self) -> None:
        self._plans.clear()
        await self.execute("DEALLOCATE ALL", prepare=False)  # as a prepared statement it would drop itself

    def _ready(self, sql: str, params: Params) -> _Ready:
        statement, transformer = bound(sql), self._transformer
        values = transformer.dump_sequence(statement.values(params), statement.formats)
        return _Ready((statement.sql, transformer.types or ()), values, transformer.formats or ())

    def _send(self, ready: Sequence[_Ready]) -> list[tuple[_Plan, bytes]]:
        """What was asked, in order: that a plan be prepared under a name, or run. What comes twice is prepared."""
        commands: list[tuple[_Plan, bytes]] = []
        asked: dict[_Plan, bytes] = {}
        for key, values, formats in ready:
            plan = self._plans.get(key)
            if plan is None:
                plan = self._plans[key] = _Plan()
                self.pgconn.send_query_params(key[0], values, key[1], formats, _BINARY)
            else:
                name = plan.name or asked.get(plan)
                if name is None:
                    name = asked[plan] = b"trip_%d" % next(self._names)
                    self.pgconn.send_prepare(name, *key)
                    commands.append((plan, name))
                self.pgconn.send_query_prepared(name, values, formats, _BINARY)
            commands.append((plan, b""))
        self.pgconn.pipeline_sync()
        return commands

    async def _results(self) -> list[pq.abc.PGresult]:
        """One result for each command. What we send and what we are sent wait for each other in neither direction."""
        pgconn, results = self.pgconn, list[pq.abc.PGresult]()
        while True:
            await _until_ready(pgconn.socket, writing=bool(pgconn.flush()))
            pgconn.consume_input()
            ended = False
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    if ended:  # of what has arrived
                        break
                    ended = True
                elif result.status == pq.ExecStatus.PIPELINE_SYNC:
                    return results
                else:
                    ended = False
                    results.append(result)

    def _rows(self, commands: Sequence[tuple[_Plan, bytes]], results: Sequence[pq.abc.PGresult]) -> list[list[Row]]:
        """Raises the first refusal. That of the commit comes after the results of all commands."""
        found: list[list[Row]] = []
        for (plan, name), result in zip(commands, results, strict=False):
            _require(result)
            if name:
                plan.name = name
            else:
                found.append(self._read(plan, result))
        for refused in results[len(commands) :]:
            _require(refused)
        return found

    def _read(self, plan: _Plan, result: pq.abc.PGresult) -> list[Row]:
        if not result.ntuples:
            return []
        if not plan.columns:
            names = (result.fname(column) or b"" for column in range(result.nfields))
            plan.columns = tuple(name.decode() for name in names)
        self._transformer.set_pgresult(result)
        return self._transformer.load_rows(0, result.ntuples, plan.row)


def _require(result: pq.abc.PGresult) -> None:
    if result.status not in {pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK}:
        raise pg.error_from_result(result)


async def _until_ready(descriptor: int, *, writing: bool) -> None:
    """Until a socket can be read from, or written to when there is something left to send."""
    loop = asyncio.get_running_loop()
    ready: asyncio.Future[None] = loop.create_future()

    def wake() -> None:
        if not ready.done():
            ready.set_result(None)

    loop.add_reader(descriptor, wake)
    if writing:
        loop.add_writer(descriptor, wake)
    try:
        await ready
    finally:
        loop.remove_reader(descriptor)
        if writing:
            loop.remove_writer(descriptor)
