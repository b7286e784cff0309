"""A connection that also sends many statements in one pipeline, for a fraction of the cost of cursors in a pipeline.

Why it uses libpq directly: docs/adr/0022-pipelines-over-libpq.md.
One file because the statements of pipelines, their plans and the errors of a commit belong to one connection.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from itertools import count
from typing import Any, NamedTuple

import psycopg
from psycopg import ProgrammingError, pq
from psycopg import errors as pg
from psycopg.abc import RV, Buffer, PQGen
from psycopg.adapt import PyFormat, Transformer
from psycopg.rows import AsyncRowFactory, DictRow, tuple_row

Row = dict[str, Any]
Params = Mapping[str, object] | Sequence[object]
Step = tuple[str, Params]
"""A statement and its parameters."""

PLANS = 200
"""The number of statements that a connection remembers; before it exceeds that, it forgets all."""

_PLACEHOLDER = re.compile(r"%(?:\((?P<name>\w+)\))?(?P<kind>.?)", re.DOTALL)
_KINDS = {"s": PyFormat.AUTO, "b": PyFormat.BINARY, "t": PyFormat.TEXT}
_BINARY = pq.Format.BINARY
_STALE = (pg.InvalidSqlStatementName, pg.FeatureNotSupported)
"""A prepared statement is gone, or a migration changed its rows."""

_Key = tuple[bytes, tuple[int, ...]]


_SYNC_WAIT_FUNCTION = "SyncRepWait"
_SYNC_WAIT_FILE = "syncrep.c"
_WARNING = "01000"
_ADMIN_SHUTDOWN = "57P01"


class ReplicationUnknown(psycopg.OperationalError):
    """The primary committed, and no standby is known to have the commit: a failover may lose it."""

    def __init__(self) -> None:
        super().__init__("the wait for the synchronous standby was canceled: it is not known whether the commit holds")


def is_canceled_wait(notice: pg.Diagnostic) -> bool:
    """Return whether a notice says that a commit did not wait for its standby.

    Messages are in the server's language, so the place in Postgres's source decides. A server that does not send it is
    judged by the SQLSTATE alone, which may report a wait too many but misses none.
    """
    if notice.severity_nonlocalized != "WARNING":
        return False
    function, file = notice.source_function, notice.source_file
    if function or file:
        return (function or "").startswith(_SYNC_WAIT_FUNCTION) or (file or "").endswith(_SYNC_WAIT_FILE)
    return notice.sqlstate in {_WARNING, _ADMIN_SHUTDOWN}


class _Plan:
    """A statement with parameters of certain types: the name it is prepared under, and the names of its columns."""

    __slots__ = ("columns", "name")

    def __init__(self) -> None:
        self.name = b""
        self.columns: tuple[str, ...] = ()

    def row(self, values: Sequence[Any]) -> Row:
        return dict(zip(self.columns, values, strict=True))


class _Ready(NamedTuple):
    """A step with its parameters encoded."""

    key: _Key
    values: Sequence[Buffer | None]
    formats: Sequence[pq.Format]


class Connection(psycopg.AsyncConnection[DictRow]):
    """Psycopg's connection, with `run_pipeline` beside its cursors.

    If the wait of a commit for a synchronous standby was canceled, Postgres reports success. Here it is an error,
    ReplicationUnknown, and the connection is closed, as after any other lost answer.
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
        """Return the server's process id, 0 if the connection is closed."""
        return 0 if self.closed else self.pgconn.backend_pid

    def _note(self, notice: pg.Diagnostic) -> None:
        if is_canceled_wait(notice):
            self._replication_unknown = True

    async def wait(
        self,
        gen: PQGen[RV],
        interval: float = 0.1,
        timeout: float | None = None,  # noqa: ASYNC109 - psycopg's own
    ) -> RV:
        """Wait as psycopg does for all cursors and transactions. Raises ReplicationUnknown."""
        try:
            found = await super().wait(gen, interval, timeout)
        finally:
            if self._replication_unknown:
                await self.close()
        if self._replication_unknown:
            raise ReplicationUnknown
        return found

    async def run_pipeline(self, steps: Sequence[Step]) -> list[list[Row]]:
        """Send statements together and return the rows of each, read in binary.

        Outside a transaction the pipeline is one transaction. Each statement sees all commits before its own start.

        Raises the error of the first statement that fails, ReplicationUnknown, and ProgrammingError for parameters that
        do not fit, before anything is sent. A cancellation closes the connection: its progress is unknown then.
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
        await self.execute("DEALLOCATE ALL", prepare=False)  # a prepared statement would deallocate itself

    def _ready(self, sql: str, params: Params) -> _Ready:
        statement, transformer = bound(sql), self._transformer
        values = transformer.dump_sequence(statement.values(params), statement.formats)
        return _Ready((statement.sql, transformer.types or ()), values, transformer.formats or ())

    def _send(self, ready: Sequence[_Ready]) -> list[tuple[_Plan, bytes]]:
        """Send the steps and return the commands in order: a plan with the name to prepare it under, or to run.

        A statement is prepared when it is sent for the second time.
        """
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
        """Return one result for each command. Sending and receiving alternate, so no full buffer blocks both."""
        pgconn, results = self.pgconn, list[pq.abc.PGresult]()
        while True:
            await _until_ready(pgconn.socket, writing=bool(pgconn.flush()))
            pgconn.consume_input()
            ended = False
            while not pgconn.is_busy():
                result = pgconn.get_result()
                if result is None:
                    if ended:  # all results that have arrived
                        break
                    ended = True
                elif result.status == pq.ExecStatus.PIPELINE_SYNC:
                    return results
                else:
                    ended = False
                    results.append(result)

    def _rows(self, commands: Sequence[tuple[_Plan, bytes]], results: Sequence[pq.abc.PGresult]) -> list[list[Row]]:
        """Return the rows of each step. Raises the first error; a commit's error follows the commands' results."""
        found: list[list[Row]] = []
        for (plan, name), result in zip(commands, results, strict=False):
            _require(result)
            if name:
                plan.name = name
            else:
                found.append(self._read(plan, result))
        for after_commands in results[len(commands) :]:
            _require(after_commands)
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
    """Wait until a socket is readable, or writable if `writing`."""
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


class BoundStatement(NamedTuple):
    """A statement with `$1`, `$2`, ...; the names of its parameters, empty if they are unnamed; and their formats."""

    sql: bytes
    names: tuple[str, ...]
    formats: tuple[PyFormat, ...]

    def values(self, params: Params) -> Sequence[object]:
        """Return the parameters in order. Raises ProgrammingError for missing or surplus parameters."""
        if isinstance(params, Mapping) and (self.names or not self.formats):
            try:
                return [params[name] for name in self.names]
            except KeyError as error:
                raise ProgrammingError(f"query parameter missing: {error.args[0]}") from None
        if isinstance(params, Mapping) or self.names or len(params) != len(self.formats):
            raise ProgrammingError(
                f"the query has {len(self.formats)} placeholders, {len(params)} parameters were given"
            )
        return params


@lru_cache(maxsize=1024)
def bound(sql: str) -> BoundStatement:
    """Return the form of Postgres of a statement with psycopg's placeholders. Raises ProgrammingError."""
    named: dict[str, PyFormat] = {}
    unnamed: list[PyFormat] = []

    def number(found: re.Match[str]) -> str:
        name, kind = found["name"], found["kind"]
        if kind == "%" and name is None:
            return "%"
        if kind not in _KINDS:
            raise ProgrammingError(f"only '%s', '%b', '%t' are placeholders, got {found[0]!r}")
        if name is None:
            unnamed.append(_KINDS[kind])
            return f"${len(unnamed)}"
        if named.setdefault(name, _KINDS[kind]) is not _KINDS[kind]:
            raise ProgrammingError(f"placeholder {name!r} cannot have different formats")
        return f"${list(named).index(name) + 1}"

    text = _PLACEHOLDER.sub(number, sql)
    if named and unnamed:
        raise ProgrammingError("positional and named placeholders cannot be mixed")
    return BoundStatement(text.encode(), tuple(named), tuple(named.values() or unnamed))
