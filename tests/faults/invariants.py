"""What holds after whatever happened: nothing lost, nothing doubled, nothing left behind."""

import asyncio
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from annals.app.health.conservation import Conservation
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from tests.faults.atwork import leftovers, running
from tests.instance import AnnalsInstance, annals, eventually

QUERIES = sql.load(__package__, "invariants.sql")
GRACE_SECONDS = 30
"""So long after the last call and a lease nothing is under way, and nothing of what was is left."""

COMMANDS = (("replay", "--check"), ("verify",))
COMMAND_SECONDS = 150.0


def quiet_seconds(instance: AnnalsInstance) -> float:
    """How long what is under way may stay so, whatever has died: a lease, and what is promised beyond."""
    return float(running(instance).settings["ANNALS_LEASE_S"]) + GRACE_SECONDS


def hold(instance: AnnalsInstance, *, reading_seconds: float = COMMAND_SECONDS) -> None:
    """Check all of it; `reading_seconds` is how long the commands may take that go through the whole log."""
    settled(instance)
    _commands(instance, quiet_seconds(instance), reading_seconds)
    metrics = httpx.get(instance.endpoint.removesuffix("/v1") + "/metrics", timeout=60).text
    assert drifting(metrics) == [], drifting(metrics)


def settled(instance: AnnalsInstance) -> None:
    """Everything has ended, once, was counted and is gone, or does within the quiet time."""
    deadline = time.monotonic() + quiet_seconds(instance)

    def left() -> float:
        return max(deadline - time.monotonic(), 1)

    with psycopg.connect(instance.database_url, autocommit=True, row_factory=dict_row) as conn:
        eventually(lambda: _none(conn, "open"), left(), explain=lambda: _rows(conn, "open"))
        assert _rows(conn, "gaps") == [], "a stream's versions have gaps"
        assert _rows(conn, "execution_ends") == [], "executions that did not end exactly once"
        assert _rows(conn, "build_ends") == [], "builds that did not end exactly once"
        assert _rows(conn, "stopped") == [], "followers stand still"
        eventually(lambda: _none(conn, "usage"), left(), explain=lambda: _rows(conn, "usage"))
    drift = asyncio.run(_drift(instance))
    assert drift == [], drift
    eventually(lambda: not leftovers(instance), left(), explain=lambda: leftovers(instance))


async def _drift(instance: AnnalsInstance) -> list[str]:
    """What `/metrics` would tell of drift if it did not keep its figures for some seconds."""
    database = await Database.open(instance.database_url, size=1)
    try:
        return drifting(await Conservation(database).text())
    finally:
        await database.close()


def drifting(metrics: str) -> list[str]:
    """The gauges of drift that are not zero."""
    gauges = re.findall(r"^annals_conservation_drift\{.*$", metrics, re.MULTILINE)
    assert gauges, "drift is not told"
    return [line for line in gauges if not line.endswith(" 0")]


def _rows(conn: psycopg.Connection[dict[str, Any]], query: str) -> list[dict[str, Any]]:
    return conn.execute(QUERIES[query].encode()).fetchall()


def _none(conn: psycopg.Connection[dict[str, Any]], query: str) -> bool:
    return not _rows(conn, query)


def _commands(instance: AnnalsInstance, seconds: float, reading: float) -> None:
    """Rebuilt read models equal the live ones, and the log is what was sealed."""
    with ThreadPoolExecutor(2) as both:
        for one in [both.submit(_succeeds, instance, (seconds, reading), words) for words in COMMANDS]:
            one.result()


def _succeeds(instance: AnnalsInstance, within: tuple[float, float], words: Sequence[str]) -> None:
    """Run a command until it has come to a verdict, which is to be a good one; each run has its own time.

    Both judge one moment of a log that goes on, so no verdict is to be forgiven. One that could not read the log, or
    met another replay, gives none.
    """
    deadline, reading = time.monotonic() + within[0], within[1]
    while not (done := annals(*words, "--json", "--data", str(instance.data), seconds=reading)).stdout:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.2)
    assert done.returncode == 0, done.stdout + done.stderr


def executions(instance: AnnalsInstance) -> dict[str, int]:
    """How many executions were accepted, and how they ended, by the log."""
    with psycopg.connect(instance.database_url, row_factory=dict_row) as conn:
        return {row["topic"]: row["number"] for row in conn.execute(QUERIES["counts"].encode())}


def rows_of_functions(instance: AnnalsInstance) -> list[dict[str, Any]]:
    """How many rows each function has, by table."""
    with psycopg.connect(instance.database_url, row_factory=dict_row) as conn:
        return conn.execute(QUERIES["rows_of_functions"].encode()).fetchall()


def functions_with_rows(instance: AnnalsInstance) -> set[str]:
    return {str(row["function_id"]) for row in rows_of_functions(instance)}
