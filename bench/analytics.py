"""Usage over 90 days of a generated history: the contract's endpoints, and every grouping."""

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import psycopg
import uvloop
from psycopg.conninfo import make_conninfo

from annals.projections.replay import replay
from annals.projections.replay.refill import Progress
from annals.projections.usage.answer import answer
from annals.projections.usage.question import MEASURES, RUNNING, Question, before, edges_of
from annals.projections.usage.series import Scope, read_usage
from annals.store.log.log import EventLog
from annals.store.postgres.migrate import migrate
from bench.event_log import open_log
from bench.history import PROJECT, Shape, copy
from bench.results import Figure, say

DATABASE = "annals_bench_usage"
END = datetime(2026, 6, 1, tzinfo=UTC)
FLOWS = ["count", "errors", "duration", "mbSeconds", "coldStarts", "queueTime", "builds", "buildTime"]
TIMES = 11
REPORT_EVERY = 1_000_000

_GROUPINGS = {
    "none": (),
    "function": ("function",),
    "deployment": ("deployment",),
    "trigger": ("trigger",),
    "status and reason": ("status", "reason"),
    "specification": ("specification",),
    "hour of day": ("hour",),
    "function and trigger": ("function", "trigger"),
}


def figures(database_url: str, executions: int) -> list[Figure]:
    """Measure a separate log whose usage is completely booked."""
    with psycopg.connect(database_url, autocommit=True) as conn:
        conn.execute(f"DROP DATABASE IF EXISTS {DATABASE} WITH (FORCE)")
        conn.execute(f"CREATE DATABASE {DATABASE}")
        try:
            url = make_conninfo(database_url, dbname=DATABASE)
            migrate(url)
            written = _write_history(url, executions)
            return [written, *uvloop.run(_figures(url, executions))]
        finally:
            conn.execute(f"DROP DATABASE {DATABASE} WITH (FORCE)")


def _write_history(url: str, executions: int) -> Figure:
    began = time.perf_counter()
    with psycopg.connect(url) as writing:
        events = copy(writing, Shape(executions=executions, end=END))
    took = time.perf_counter() - began
    say(f"usage: a history of {events:,} events written in {took:.0f} s")
    return Figure(name="usage: events of the history written", value=events / took, unit="events/s")


async def _figures(url: str, executions: int) -> list[Figure]:
    async with open_log(url) as log:
        booked = await _book(log)
        await log.database.execute("VACUUM ANALYZE")
        size = await log.database.value("SELECT pg_database_size(current_database()) / 2 ^ 30")
        return [
            booked,
            Figure(name=f"usage: log and cube of {executions:,} executions", value=size, unit="GiB"),
            *await _contract(log, executions),
            *await _groupings(log, executions),
        ]


async def _book(log: EventLog) -> Figure:
    """Book the history as `annals replay` does, with the follower's projection."""
    progress = Progress("usage", 0, 0, 0)

    def report(last: Progress) -> None:
        nonlocal progress
        if last.events // REPORT_EVERY > progress.events // REPORT_EVERY:
            say(f"usage: {last.events:,} events booked after {time.perf_counter() - began:.0f} s")
        progress = last

    began = time.perf_counter()
    await replay.rebuild(log.database, log.reader, ["usage"], report=report)
    rate = progress.events / (time.perf_counter() - began)
    return Figure(name="usage: events booked by a rebuild", value=rate, unit="events/s")


async def _contract(log: EventLog, executions: int) -> list[Figure]:
    incarnation = await log.database.value("SELECT min(function_sequence) FROM usage_days WHERE function_id = 'f1'")
    scopes = {"of the project": Scope(PROJECT), "of a function": Scope(PROJECT, "f1", incarnation)}
    return [
        Figure(
            name=f"usage {scope_name}, 90 days of {executions:,} executions",
            value=await _median(lambda scope=scope: read_usage(log.database, log.reader, scope, "90d", END)),  # type: ignore[misc]
            unit="ms",
            target=10,
        )
        for scope_name, scope in scopes.items()
    ]


async def _groupings(log: EventLog, executions: int) -> list[Figure]:
    """Measure every grouping by day with all measures, in UTC and in a zone with other days."""
    found = []
    for name, group_by in _GROUPINGS.items():
        interval = "total" if "hour" in group_by else "day"
        everything = [measure for measure in MEASURES if not ("hour" in group_by and measure in RUNNING)]
        for zone, measures in (("UTC", everything), ("Europe/Berlin", FLOWS)):
            question = _question(zone, interval, group_by, measures)
            milliseconds = await _median(lambda question=question: answer(log.database, log.reader, question))  # type: ignore[misc]
            title = f"usage by {name}, {zone}, {len(measures)} measures, 90 days of {executions:,} executions"
            found.append(Figure(name=title, value=milliseconds, unit="ms", target=50))
    question = _question("UTC", "day", (), ["count", "errors", "p95"], compare=True)
    milliseconds = await _median(lambda: answer(log.database, log.reader, question))
    found.append(Figure(name="usage against the 90 days before", value=milliseconds, unit="ms", target=50))
    return found


def _question(
    zone: str, interval: str, group_by: tuple[str, ...], measures: list[str], *, compare: bool = False
) -> Question:
    known = ZoneInfo(zone)
    edges = edges_of(END - timedelta(days=90), END, interval, known)
    former = before(edges, interval, known) if compare else []
    return Question(
        project_id=PROJECT,
        interval=interval,
        zone=known,
        edges=[*former, *edges],
        compared=len(former),
        group_by=group_by,
        measures=measures,
    )


async def _median(ask: Callable[[], Awaitable[object]]) -> float:
    """Return the median in milliseconds, without the first runs."""
    took = []
    for turn in range(TIMES + 2):
        began = time.perf_counter()
        await ask()
        if turn >= 2:
            took.append((time.perf_counter() - began) * 1000)
        await asyncio.sleep(0)
    return statistics.median(took)
