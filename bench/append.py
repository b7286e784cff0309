"""Durable appends by concurrent callers of one process, against a connection that commits row after row."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import NamedTuple

import psycopg
import uvloop
from psycopg.conninfo import make_conninfo

from annals.domain.execution import CallRequest, Execution
from annals.store.log.group_append import GroupAppender
from annals.store.log.mapper import EventMapper
from annals.store.log.request import AppendRequest, Statement
from annals.store.postgres.database import Database
from annals.store.postgres.migrate import migrate
from bench.floors import durable_insert
from bench.results import Figure

DATABASE = "annals_bench_append"
"""A separate database on the same server, since an instance's followers do not know these events."""

CALLERS = (1, 8, 32, 64, 128)
UPSERTING = 64
SECONDS = 2.0

SLOW_DISK_MS = 0.7
DELAYED_COMMITS = "-c commit_delay=900 -c commit_siblings=0"
"""Postgres waits this long (microseconds) before it flushes a commit, for the floor and for the measured appends."""

TARGETS = {"slow": {8: 5.0, 32: 14.0, 64: 20.0}, "fast": {32: 4.0}}
"""Targets as multiples of the floor, for disks whose commit takes about a millisecond and for faster disks."""

P99_FSYNCS = 5.0
UPSERT_SHARE = 0.75

TABLE = "CREATE TABLE bench_rows (stream text PRIMARY KEY, version bigint, position bigint)"
UPSERT = (
    "INSERT INTO bench_rows SELECT originator_id, originator_version, notification_id FROM events"
    " WHERE originator_id = %(stream)s AND originator_version = %(version)s"
    " ON CONFLICT (stream) DO UPDATE SET version = excluded.version, position = excluded.position"
)
"""An upsert like those of the read models: it takes the position from the event's row, and reads nothing back."""

Statements = Callable[[str], Sequence[Statement]]


class Measured(NamedTuple):
    """Events a second, and the 99th percentile of a caller's wait in milliseconds."""

    rate: float
    p99_ms: float


def figures(database_url: str) -> list[Figure]:
    """Return the median of three runs for each number of callers; each run follows its floor directly."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        conn.execute(f"CREATE DATABASE {DATABASE}")
        try:
            return _figures(make_conninfo(database_url, dbname=DATABASE))
        finally:
            conn.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def _figures(url: str) -> list[Figure]:
    """Measure on this disk, and on a fast disk also with commits that are delayed to about a millisecond."""
    migrate(url)
    with psycopg.connect(url, autocommit=True) as conn:
        conn.execute(TABLE)
    found = _on(url, "")
    if 1000 / (found[0].floor or 1) < SLOW_DISK_MS:
        found += _on(make_conninfo(url, options=DELAYED_COMMITS), ", commits of 1 ms")
    return found


def _on(url: str, disk: str) -> list[Figure]:
    found: list[Figure] = []
    for callers in CALLERS:
        floor, plain = _beside_floor(url, callers, lambda _stream: ())
        slow = 1000 / floor >= SLOW_DISK_MS
        target = TARGETS["slow" if slow else "fast"].get(callers)
        figure = Figure(name=f"durable append, {callers} callers{disk}", value=plain.rate, unit="events/s")
        figure.floor, figure.target = floor, target and target * floor
        figure.note = f"p99 {plain.p99_ms:.1f} ms"
        found.append(figure)
        if callers == UPSERTING:
            found += _at_64(url, disk, 1000 / floor if slow else None, plain)
    return found


def _at_64(url: str, disk: str, fsync_ms: float | None, plain: Measured) -> list[Figure]:
    """Return the slowest waits, and the rate with a read model's upsert in the same transaction."""
    slowest = Figure(name=f"durable append, 64 callers, p99{disk}", value=plain.p99_ms, unit="ms")
    slowest.floor, slowest.target = fsync_ms, fsync_ms and P99_FSYNCS * fsync_ms
    _, with_upsert = _beside_floor(url, UPSERTING, _upsert)
    name = f"durable append with an inline upsert, 64 callers{disk}"
    upsert = Figure(name=name, value=with_upsert.rate, unit="events/s", floor=plain.rate)
    upsert.target = UPSERT_SHARE * plain.rate if fsync_ms else None
    upsert.note = "floor: the same without"
    return [slowest, upsert]


def _beside_floor(url: str, callers: int, statements: Statements) -> tuple[float, Measured]:
    runs = []
    for number in range(3):
        floor = durable_insert(url, 1.0)
        runs.append((floor, uvloop.run(_measure(url, callers, statements, f"{callers}-{number}-{time.time_ns()}"))))
    return sorted(runs, key=lambda run: run[1].rate / run[0])[1]


async def _measure(url: str, callers: int, statements: Statements, run: str) -> Measured:
    database = await Database.open(url, size=1)
    appender, mapper = GroupAppender(database), EventMapper()
    waits: list[float] = []
    end = time.perf_counter() + SECONDS

    async def caller(number: int) -> None:
        turn = 0
        while (began := time.perf_counter()) < end:
            turn += 1
            execution = _execution(f"{run}-{number}-{turn}")
            stored = [mapper.to_stored_event(event) for event in execution.collect_events()]
            await appender.append(AppendRequest(stored, statements(execution.id)))
            waits.append(time.perf_counter() - began)

    try:
        await asyncio.gather(*(caller(number) for number in range(callers)))
    finally:
        await appender.close()
        await database.close()
    waits.sort()
    return Measured(len(waits) / SECONDS, 1000 * waits[int(len(waits) * 0.99)])


def _upsert(stream: str) -> Sequence[Statement]:
    return [Statement(UPSERT, {"stream": stream, "version": 1})]


def _execution(execution_id: str) -> Execution:
    return Execution.request_run(
        None,
        project_id="bench",
        function_id="hello",
        function_incarnation=1,
        function_version=3,
        execution_id=execution_id,
        deployment_id="d1",
        trigger="http",
        request=CallRequest(method="POST", path="/"),
    )
