"""Rebuilds of read models from the log. The floor is a read of the same rows."""

import asyncio
import statistics
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import ClassVar

import msgspec
import psycopg
import uvloop
from psycopg.conninfo import make_conninfo

from annals.domain.execution import CallRequest, Execution, RunRecord
from annals.domain.function import Configuration, Function
from annals.projections.following import FOLLOWING
from annals.projections.inline import TABLES
from annals.projections.own_models import FoldBounds, ReadModel, RecordedEvent, fold
from annals.projections.replay import replay
from annals.projections.replay.refill import Progress
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog, Meta
from annals.store.log.reader import QUERIES
from annals.store.postgres.database import Database
from annals.store.postgres.listener import Listener
from annals.store.postgres.migrate import migrate
from bench.event_log import open_log
from bench.results import Figure

DATABASE = "annals_bench_replay"
CALLERS, EACH = 64, 400
"""The log is so long that the creation and switch of tables, 0.1 s, hardly counts."""

BATCH = 2000
META = Meta(actor="bench")
CHANGES = 5_000
TARGETS = {"fold, a model of one's own": 100_000.0, "follow, versions of a function that changes": 5_000.0}

Count = Callable[[], Awaitable[int]]
"""Reads the whole log once and returns the number of events."""


def figures(database_url: str) -> list[Figure]:
    """Measure a separate log: one function and its executions, recorded as on a busy instance."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        conn.execute(f"CREATE DATABASE {DATABASE}")
        try:
            url = make_conninfo(database_url, dbname=DATABASE)
            migrate(url)
            return uvloop.run(_figures(url))
        finally:
            conn.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


async def _figures(url: str) -> list[Figure]:
    async with open_log(url) as log:
        await _fill(log)
        await log.database.execute("ANALYZE")
        floor = await _median(partial(_read, log.database))
        measured = {
            "read and decode": await _median(partial(_decode, log)),
            "follow, usage": await _median(partial(_follow, log, "usage")),
            "rebuild, inline read models": await _median(partial(_rebuild, log, TABLES)),
            "fold, a model of one's own": await _median(partial(_fold, log)),
            "rebuild, usage": await _median(partial(_rebuild, log, ("usage",))),
            "follow, versions of a function that changes": await _versions(log),
        }
    note = "floor: the rows read, undecoded"
    return [
        Figure(name=f"replay: {name}", value=rate, unit="events/s", floor=floor, target=TARGETS.get(name), note=note)
        for name, rate in measured.items()
    ]


async def _median(count: Count) -> float:
    rates = []
    for _ in range(3):
        began = time.perf_counter()
        events = await count()
        rates.append(events / (time.perf_counter() - began))
    return statistics.median(rates)


async def _fill(log: EventLog) -> None:
    created = await log.run(
        Function.create,
        Function.absent("bench", "f"),
        meta=META,
        project_id="bench",
        function_id="f",
        configuration=Configuration(
            name="Hello", runtime="node-22", build_specification="s-1vcpu-1gb", runtime_specification="s-1vcpu-512mb"
        ),
    )

    async def caller(number: int) -> None:
        for turn in range(EACH):
            await _execute(log, f"e{number}-{turn}", created.position)

    await asyncio.gather(*(caller(number) for number in range(CALLERS)))


async def _execute(log: EventLog, execution_id: str, incarnation: int) -> None:
    """Record the three events of an asynchronous execution."""
    requested = await log.run(
        Execution.request_run,
        Execution.absent("bench", execution_id),
        meta=META,
        project_id="bench",
        function_id="f",
        function_incarnation=incarnation,
        function_version=1,
        execution_id=execution_id,
        deployment_id="d",
        trigger="http",
        request=CallRequest(method="POST", path="/"),
    )
    (execution,) = requested.aggregates
    if not isinstance(execution, Execution):
        raise TypeError(f"{type(execution).__name__} is no execution")
    execution.claim("worker-1")
    await log.record([execution], meta=META)
    ran = RunRecord(
        deployment_id="d", function_version=1, environment_digest="e", specification="s-1vcpu-512mb", run_ms=12
    )
    execution.complete(1, status_code=200, headers=[], ran=ran)
    await log.record([execution], meta=META)


async def _read(database: Database) -> int:
    position = events = 0
    while rows := await database.rows(QUERIES["after"], {"position": position, "limit": BATCH, "until": None}):
        position, events = rows[-1]["notification_id"], events + len(rows)
    return events


async def _decode(log: EventLog) -> int:
    position = events = 0
    while recorded_events := await log.reader.after(position, BATCH):
        position, events = recorded_events[-1].position, events + len(recorded_events)
    return events


class Hours(ReadModel):
    """Calls and time by function and hour of the week: a typical fold."""

    columns: ClassVar[Mapping[str, str]] = {"function": "text", "hour": "int", "calls": "bigint", "ms": "bigint"}

    def __init__(self) -> None:
        self._functions: dict[str, str] = {}
        self._sums: defaultdict[tuple[str, int], list[int]] = defaultdict(lambda: [0, 0])

    def apply(self, recorded_event: RecordedEvent) -> None:
        event = recorded_event.event
        if isinstance(event, Execution.Requested):
            self._functions[event.originator_id] = event.function_id
        elif isinstance(event, Execution.Completed):
            at = recorded_event.recorded_at
            line = self._sums[self._functions.pop(event.originator_id), at.weekday() * 24 + at.hour]
            line[0] += 1
            line[1] += event.ran.run_ms

    def rows(self) -> list[tuple[object, ...]]:
        return [(*key, *sums) for key, sums in sorted(self._sums.items())]


async def _fold(log: EventLog) -> int:
    return (await fold(log.reader, Hours(), FoldBounds(0, await log.reader.position()))).events


async def _follow(log: EventLog, name: str) -> int:
    """Follow the log from the beginning as the keeper does, in batches of its size."""
    following = FOLLOWING[name]
    await log.database.execute(f"TRUNCATE {', '.join(following.tables)}")
    await log.database.execute("DELETE FROM checkpoints WHERE name = %s", (name,))
    follower = Follower(name, following.handle, log.reader, Listener(log.database))
    events = 0
    while done := await follower.catch_up():
        events += done
    return events


async def _versions(log: EventLog) -> float:
    """Follow changes of one function as the keeper does, without the earlier events."""
    follower = Follower("row_versions", FOLLOWING["row_versions"].handle, log.reader, Listener(log.database))
    while await follower.catch_up():
        pass
    for turn in range(CHANGES // 200):
        function: Function = await log.load(Function.key("bench", "f"))
        for number in range(200):
            function.update(msgspec.structs.replace(function.configuration, name=f"version {turn}-{number}"))
        await log.record([function], meta=META)
    began = time.perf_counter()
    while await follower.catch_up():
        pass
    return CHANGES / (time.perf_counter() - began)


async def _rebuild(log: EventLog, names: tuple[str, ...]) -> int:
    """Rebuild as `annals replay` does: create staging tables, fill them, switch."""
    events = 0

    def report(progress: Progress) -> None:
        nonlocal events
        events = progress.events

    await replay.rebuild(log.database, log.reader, names, report=report)
    return events
