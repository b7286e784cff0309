"""Applies batches of events to the inline read models, for a rebuild.

Executions, most of any log, are folded in memory and written together. Other events run their statements in order.
Events of projects, created or deleted functions, and sweeps change executions or their counts. So everything before
them is written first.

Postgres writes one batch's executions while the next batch is read and folded.
"""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from itertools import groupby
from operator import itemgetter
from typing import Any

import msgspec

from annals.domain.execution import Execution
from annals.domain.function import Function
from annals.domain.project import Project
from annals.domain.retention import Retention
from annals.projections.executions import Columns
from annals.projections.executions_fold import ExecutionBuffer
from annals.projections.inline import project
from annals.projections.replay.refill import Apply
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "batches.sql")
_BARRIERS = (Project.Event, Retention.Event, Function.Created, Function.Deleted)
_encode = msgspec.json.Encoder().encode


@asynccontextmanager
async def filling(conn: Connection) -> AsyncIterator[Apply]:
    """Yield a function that applies batches to the inline tables that the connection sees. On exit all is written."""
    shape = (await conn.execute(QUERIES["shape"])).description or ()
    batches = _Batches(conn, [column.name for column in shape], [column.type_code for column in shape])
    try:
        yield batches.apply
        await batches.flush()
    finally:
        await batches.stop()


class _Batches:
    def __init__(self, conn: Connection, columns: Sequence[str], types: Sequence[int]) -> None:
        self._conn = conn
        self._columns = itemgetter(*columns)
        self._types = types
        self._buffer = ExecutionBuffer()
        self._writing: asyncio.Task[None] | None = None

    async def apply(self, recorded_events: Sequence[RecordedEvent]) -> None:
        executions: list[RecordedEvent] = []
        others: list[Any] = []
        for recorded_event in recorded_events:
            if isinstance(recorded_event.event, Execution.Event):
                executions.append(recorded_event)
            elif isinstance(recorded_event.event, _BARRIERS):
                await self._apply(executions, others)
                await self.flush()
                await self._run([recorded_event.event])
                executions, others = [], []
            else:
                others.append(recorded_event.event)
        await self._apply(executions, others)

    async def flush(self) -> None:
        """Write the buffered executions."""
        await self._write(self._buffer.take_all())
        await self._wait_written()

    async def stop(self) -> None:
        """Wait for a write in progress, also after an error."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _apply(self, executions: Sequence[RecordedEvent], others: Sequence[Any]) -> None:
        """Apply events among which executions are independent of the others."""
        fetched: Mapping[str, Columns] = {}
        if missing := self._buffer.missing(executions):
            await self._wait_written()
            cursor = await self._conn.execute(QUERIES["fetch"], {"streams": missing}, binary=True)
            fetched = {row["stream_id"]: row for row in await cursor.fetchall()}
        folded = self._buffer.fold(executions, fetched)
        await self._wait_written()
        await self._count(folded.counted)
        await self._run(others)
        await self._write(folded.rows)

    async def _count(self, counted: Mapping[tuple[str, int], int]) -> None:
        deltas = [{"function": f, "sequence": sequence, "value": value} for (f, sequence), value in counted.items()]
        if deltas:
            await self._conn.execute(QUERIES["count"], {"deltas": _encode(deltas).decode()})

    async def _run(self, events: Sequence[Any]) -> None:
        statements = [statement for event in events for statement in project(event)]
        for text, run in groupby(statements, key=lambda statement: statement.sql):
            async with self._conn.cursor() as cursor:
                await cursor.executemany(text, [statement.params for statement in run])

    async def _write(self, rows: Sequence[Columns]) -> None:
        """Send rows. Postgres stores them while this process goes on."""
        if not rows:
            return
        await self._wait_written()
        async with AsyncExitStack() as stack:
            cursor = await stack.enter_async_context(self._conn.cursor())
            copy = await stack.enter_async_context(cursor.copy(QUERIES["write"]))
            copy.set_types(self._types)
            for row in map(self._columns, rows):
                await copy.write_row(row)
            ending = stack.pop_all()
        self._writing = asyncio.create_task(ending.aclose())

    async def _wait_written(self) -> None:
        if self._writing is not None:
            await self._writing
            self._writing = None
