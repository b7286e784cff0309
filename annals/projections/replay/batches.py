"""Batches of facts applied to the inline read models, for rebuilding them.

Executions, most of any log, are folded and written together; everything else keeps its statements and their order. A
project, a function's birth or death and a sweep wait for what is before them: they touch executions or their counts.

Postgres takes one batch's executions in while the next batch is read and folded.
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
from annals.projections.inline import project
from annals.projections.replay.executions_fold import Executions
from annals.projections.replay.refill import Apply
from annals.store.log.reader import RecordedEvent
from annals.store.postgres import sql
from annals.store.postgres.database import Connection

QUERIES = sql.load(__package__, "executions_fold.sql")
_ALONE = (Project.Event, Retention.Event, Function.Created, Function.Deleted)
_encode = msgspec.json.Encoder().encode


@asynccontextmanager
async def filling(conn: Connection) -> AsyncIterator[Apply]:
    """Bring the inline tables that the connection sees forward by what is applied; all of it is written in the end."""
    shape = (await conn.execute(QUERIES["shape"])).description or ()
    batches = _Batches(conn, [column.name for column in shape], [column.type_code for column in shape])
    try:
        yield batches.apply
        await batches.settle()
    finally:
        await batches.stop()


class _Batches:
    def __init__(self, conn: Connection, columns: Sequence[str], types: Sequence[int]) -> None:
        self._conn, self._columns, self._types = conn, itemgetter(*columns), types
        self._executions = Executions()
        self._writing: asyncio.Task[None] | None = None

    async def apply(self, recorded_events: Sequence[RecordedEvent]) -> None:
        runs: list[RecordedEvent] = []
        others: list[Any] = []
        for recorded_event in recorded_events:
            if isinstance(recorded_event.event, Execution.Event):
                runs.append(recorded_event)
            elif isinstance(recorded_event.event, _ALONE):
                await self._take(runs, others)
                await self.settle()
                await self._run([recorded_event.event])
                runs, others = [], []
            else:
                others.append(recorded_event.event)
        await self._take(runs, others)

    async def settle(self) -> None:
        """Write what waits for more to come."""
        await self._write(self._executions.rest())
        await self._written()

    async def stop(self) -> None:
        """Whatever happened, let the connection come to rest."""
        if self._writing is not None:
            await asyncio.gather(self._writing, return_exceptions=True)

    async def _take(self, runs: Sequence[RecordedEvent], others: Sequence[Any]) -> None:
        """Take facts in among which executions may be taken out of turn."""
        fetched: Mapping[str, Columns] = {}
        if missing := self._executions.missing(runs):
            await self._written()
            cursor = await self._conn.execute(QUERIES["fetch"], {"streams": missing}, binary=True)
            fetched = {row["stream_id"]: row for row in await cursor.fetchall()}
        folded = self._executions.fold(runs, fetched)
        await self._written()
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
        """Hand rows over. Postgres goes on with them while we do."""
        if not rows:
            return
        await self._written()
        async with AsyncExitStack() as stack:
            cursor = await stack.enter_async_context(self._conn.cursor())
            copy = await stack.enter_async_context(cursor.copy(QUERIES["keep"]))
            copy.set_types(self._types)
            for row in map(self._columns, rows):
                await copy.write_row(row)
            ending = stack.pop_all()
        self._writing = asyncio.create_task(ending.aclose())

    async def _written(self) -> None:
        if self._writing is not None:
            await self._writing
            self._writing = None
