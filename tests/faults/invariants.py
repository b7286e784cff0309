"""The invariants after any fault: nothing lost, nothing doubled, nothing left behind.

The simulation's ledger also judges the history that a real instance wrote: no lost update, no second end.
"""

import asyncio
import re
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from typing import Any

import httpx
import psycopg
from psycopg.rows import dict_row

from annals.app.health.conservation import Conservation
from annals.domain.deployment import Deployment
from annals.store.postgres import sql
from annals.store.postgres.database import Database
from tests.faults.leftovers import leftovers, running
from tests.instance import AnnalsInstance, annals, eventually
from tests.simulation.ledger import Ledger, other_versions

QUERIES = sql.load(__package__, "invariants.sql")

GRACE_SECONDS = 30
"""After the last call, a lease and this time, no work is in progress and nothing is left of it."""

COMMANDS = (("replay", "--check"), ("verify",))
COMMAND_SECONDS = 150.0


def quiet_seconds(instance: AnnalsInstance) -> float:
    """Return how long work may stay in progress after a fault: a lease and the grace time."""
    return float(running(instance).settings["ANNALS_LEASE_S"]) + GRACE_SECONDS


def check_all(instance: AnnalsInstance, *, reading_seconds: float = COMMAND_SECONDS) -> None:
    """Check every invariant; `reading_seconds` is the time limit of the commands that read the whole log."""
    check_idle(instance)
    _commands(instance, quiet_seconds(instance), reading_seconds)
    metrics = httpx.get(instance.endpoint.removesuffix("/v1") + "/metrics", timeout=60).text
    assert drifting(metrics) == [], drifting(metrics)


def check_idle(instance: AnnalsInstance) -> None:
    """Wait until all work has ended, then check that it ended once, was counted, and left nothing."""
    deadline = time.monotonic() + quiet_seconds(instance)

    def left() -> float:
        return max(deadline - time.monotonic(), 1)

    with psycopg.connect(instance.database_url, autocommit=True, row_factory=dict_row) as conn:
        eventually(lambda: _none(conn, "open"), left(), explain=lambda: _rows(conn, "open"))
        assert _rows(conn, "gaps") == [], "a stream's versions have gaps"
        assert _rows(conn, "execution_ends") == [], "executions that did not end exactly once"
        assert _rows(conn, "build_ends") == [], "builds that did not end exactly once"
        assert _rows(conn, "stopped") == [], "followers have stopped"
        eventually(lambda: _none(conn, "usage"), left(), explain=lambda: _rows(conn, "usage"))
    drift = asyncio.run(_drift(instance))
    assert drift == [], drift
    eventually(lambda: not leftovers(instance), left(), explain=lambda: leftovers(instance))


async def _drift(instance: AnnalsInstance) -> list[str]:
    """Return the gauges of drift computed now: `/metrics` caches them for some seconds."""
    database = await Database.open(instance.database_url, size=1)
    try:
        return drifting(await Conservation(database).text())
    finally:
        await database.close()


def drifting(metrics: str) -> list[str]:
    """Return the gauges of drift that are not zero."""
    gauges = re.findall(r"^annals_conservation_drift\{.*$", metrics, re.MULTILINE)
    assert gauges, "the metrics lack the gauges of drift"
    return [line for line in gauges if not line.endswith(" 0")]


def _rows(conn: psycopg.Connection[dict[str, Any]], query: str) -> list[dict[str, Any]]:
    return conn.execute(QUERIES[query].encode()).fetchall()


def _none(conn: psycopg.Connection[dict[str, Any]], query: str) -> bool:
    return not _rows(conn, query)


def _commands(instance: AnnalsInstance, seconds: float, reading: float) -> None:
    """Check that rebuilt read models equal the live ones, and that the log is unchanged since it was sealed."""
    with ThreadPoolExecutor(2) as pool:
        for command in [pool.submit(_succeeds, instance, (seconds, reading), words) for words in COMMANDS]:
            command.result()


def _succeeds(instance: AnnalsInstance, within: tuple[float, float], words: Sequence[str]) -> None:
    """Run a command until it prints a verdict, and check that the verdict is good; each run has its own time limit.

    A run that could not read the log, or that met another replay, prints no verdict and is repeated. A bad verdict
    always fails: the command judges the log at one position, so later appends cannot cause it.
    """
    deadline, reading = time.monotonic() + within[0], within[1]
    while not (done := annals(*words, "--json", "--data", str(instance.data), seconds=reading)).stdout:
        assert time.monotonic() < deadline, done.stderr
        time.sleep(0.2)
    assert done.returncode == 0, done.stdout + done.stderr


def executions(instance: AnnalsInstance) -> dict[str, int]:
    """Return the number of execution events in the log, by topic."""
    with psycopg.connect(instance.database_url, row_factory=dict_row) as conn:
        return {row["topic"]: row["number"] for row in conn.execute(QUERIES["counts"].encode())}


def rows_of_functions(instance: AnnalsInstance) -> list[dict[str, Any]]:
    """Return the number of rows that each function has, by table."""
    with psycopg.connect(instance.database_url, row_factory=dict_row) as conn:
        return conn.execute(QUERIES["rows_of_functions"].encode()).fetchall()


def functions_with_rows(instance: AnnalsInstance) -> set[str]:
    return {str(row["function_id"]) for row in rows_of_functions(instance)}


class History(Ledger):
    """All events that were recorded so far, commit by commit; `wrong` lists the violations."""

    def __init__(self, instance: AnnalsInstance) -> None:
        self.wrong: list[str] = []
        super().__init__(self.wrong.append)
        with psycopg.connect(instance.database_url, row_factory=dict_row) as conn:
            rows = conn.execute(QUERIES["history"].encode()).fetchall()
        for _, commit in groupby(rows, lambda row: row["commit"]):
            self.committed(list(commit))
        self.wrong += other_versions(event for _, event in self.events)
        deleted = [deployment for deployment in self.active.values() if self._is_deleted(deployment)]
        self.wrong += [f"{deployment} is active but deleted" for deployment in deleted]

    def of(self, stream: str, kind: type[Any]) -> list[Any]:
        """Return the events of one kind in a stream."""
        return [event for _, event in self.events if event.originator_id == stream and isinstance(event, kind)]

    def judge_origin(self, event: Any) -> None:
        """Accept any origin: real hosts do not report epochs."""

    def judge_artefact(self, event: Deployment.BuildSucceeded) -> None:
        """Accept any artefact: the sizes of real artefacts vary."""

    def _is_deleted(self, deployment: str) -> bool:
        known = self.streams.get(deployment)
        function = known and self.streams.get(f"function:{known.created.project_id}:{known.created.function_id}")
        return known is None or (known.deleted and not (function and function.deleted))
