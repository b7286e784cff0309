"""Versions of rows: after any history they hold what each table held at every position, rebuilt or followed."""

import asyncio
import random
import tempfile
from collections import Counter
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from annals.app.as_of.moment import AsOf
from annals.app.as_of.rows import total_of_functions
from annals.application.event_log import inline
from annals.projections import row_versions
from annals.projections.inline import CONSTRAINT_ERRORS
from annals.projections.replay.replay import check, rebuild
from annals.store.content.blobs import Blobs
from annals.store.content.contents import Contents
from annals.store.log.follower import Follower
from annals.store.log.log import EventLog
from annals.store.postgres.database import Database
from annals.store.postgres.listener import Listener
from tests.integration.projections.history import History
from tests.replay.histories import BEGINNING, PROJECTS, Actor, any_step, to_the_end
from tests.replay.test_rebuild import varied_history

STEPS = 120
Snapshot = dict[str, list[Any]]

TABLES = (*row_versions.VERSIONED, "executions")


def _in_one(queries: dict[str, str]) -> str:
    """Return one statement for the rows of all tables, each with its table's name."""
    return " UNION ALL ".join(f"SELECT '{table}' AS kind, row FROM ({query}) one" for table, query in queries.items())  # noqa: S608


def _versions_at(at: str) -> str:
    there = f"from_position <= {at} AND to_position > {at} AND project_id = %(p)s"
    versions = {table: f"SELECT image AS row FROM row_versions WHERE kind = '{table}' AND {there}" for table in TABLES}  # noqa: S608
    executions = f"SELECT to_jsonb(t) - 'from_position' - 'to_position' AS row FROM execution_versions t WHERE {there}"  # noqa: S608
    return _in_one(versions | {"executions": executions})


LIVE = _in_one({table: f"SELECT to_jsonb(t) AS row FROM {table} t WHERE project_id = %(p)s" for table in TABLES})  # noqa: S608
AT = _versions_at("%(at)s")
RECORD_SERVED = f"INSERT INTO served SELECT %(at)s, kind, row FROM ({LIVE}) live"  # noqa: S608
SERVED = "SELECT position, kind, row FROM served WHERE position = ANY(%(positions)s)"
VERSIONS = f"SELECT position, kind, row FROM unnest(%(positions)s) position, LATERAL ({_versions_at('position')}) v"  # noqa: S608
DIFFERENT = f"(({SERVED}) EXCEPT ALL ({VERSIONS})) UNION ALL (({VERSIONS}) EXCEPT ALL ({SERVED}))"


async def read(database: Database, query: str, **params: Any) -> Snapshot:
    found: Snapshot = {table: [] for table in TABLES}
    for row in await database.rows(query, params):
        found[row["kind"]].append(row["row"])
    return {table: sorted(rows, key=lambda row: row["sequence"]) for table, rows in found.items()}


async def differences(url: str, chance: random.Random) -> list[object]:
    """Return every row that the versions hold of a position and that was not served there, and the reverse.

    The served rows are stored and compared in Postgres: reading all of them after each step takes longer.
    """
    database = await Database.open(url, size=4)
    with tempfile.TemporaryDirectory() as folder:
        log = await EventLog.open(
            database,
            contents=Contents(database, Blobs.open(folder)),
            inline=inline,
            constraint_errors=CONSTRAINT_ERRORS,
        )
        try:
            actor = Actor(log, f"p{next(PROJECTS)}")
            await database.execute("CREATE UNLOGGED TABLE IF NOT EXISTS served (position bigint, kind text, row jsonb)")
            positions: list[int] = []
            for step in [*BEGINNING, *(any_step(chance) for _ in range(STEPS))]:
                await actor.do(*step)
                if (at := await log.reader.position()) not in positions:
                    await database.execute(RECORD_SERVED, {"p": actor.p, "at": at})
                    positions.append(at)
            await to_the_end(actor.followers)
            params = {"p": actor.p, "positions": positions}
            wrong: list[object] = [*await database.rows(DIFFERENT, params)]
            served = await database.rows(SERVED, params)
            functions = Counter(row["position"] for row in served if row["kind"] == "functions")
            for position in positions:
                total = total_of_functions(actor.p, AsOf(position, None))
                if (counted := await database.value(*total)) != functions[position]:
                    wrong.append((position, "total of functions", counted, functions[position]))
            assert len(served) > 100
            return wrong
        finally:
            await log.close()
            await database.close()


@pytest.mark.timeout(900)
@settings(
    max_examples=6,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
)
@given(seed=st.integers(0, 2**32))
def test_versions_of_any_history_equal_the_served_rows(database_url: str, seed: int) -> None:
    assert asyncio.run(differences(database_url, random.Random(seed))) == []


async def test_execution_versions_have_the_columns_of_executions(database: Database) -> None:
    """A migration that adds a column to executions also adds it to execution_versions."""
    columns = (
        "SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute"
        " WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped AND attname NOT LIKE %s ORDER BY attname"
    )
    live, versions = [await database.rows(columns, (t, "%_position")) for t in ("executions", "execution_versions")]
    assert versions == live


async def follow(history: History) -> None:
    follower = Follower("row_versions", row_versions.follow, history.log.reader, Listener(history.database), batch=7)
    while await follower.catch_up():
        pass


async def test_follower_continues_after_rebuilt_versions(history: History) -> None:
    await varied_history(history)
    await follow(history)
    await history.database.execute("DELETE FROM row_versions")

    await rebuild(history.database, history.log.reader, ["row_versions"], report=lambda _: None)
    await history.run("after")
    await follow(history)

    assert all(c.same for c in await check(history.database, history.log.reader, report=lambda _: None))
    assert (await read(history.database, AT, p="p", at=10**9))["functions"] != []


async def test_versions_get_the_columns_of_a_migration(history: History) -> None:
    await varied_history(history)
    await follow(history)
    await history.database.execute("ALTER TABLE functions ADD COLUMN colour text NOT NULL DEFAULT 'red'")

    await history.function("coloured")
    await follow(history)

    now = await history.log.reader.position()
    assert (await read(history.database, AT, p="p", at=now)) == (await read(history.database, LIVE, p="p"))
    colours = await history.database.rows(
        "SELECT image->>'colour' AS colour FROM row_versions WHERE kind = 'functions'"
    )
    assert {row["colour"] for row in colours} == {"red"}


async def test_deployment_of_another_function_has_versions_as_served(history: History) -> None:
    """No command does that. But a log may hold it, and then the past shows the rows that were served."""
    await history.function()
    await history.function("g")
    await history.upload("d1", "g")
    await history.claim_build("d1")
    await follow(history)
    await history.finish_build("d1", "f")

    await follow(history)

    now = await history.log.reader.position()
    then = await read(history.database, AT, p="p", at=now)
    assert then == await read(history.database, LIVE, p="p")
    assert [row["deployment_id"] for row in then["functions"]] == ["d1", ""]


async def test_row_with_many_changes_in_one_batch_has_all_versions(history: History) -> None:
    await history.function()
    await follow(history)
    served = {}
    for turn in range(30):
        if turn % 10 == 5:
            await history.delete_function()
        elif turn % 10 == 6:
            await history.function(name=f"New {turn}")
        elif turn % 10 < 5 or turn % 10 > 6:
            await history.update(name=f"Turn {turn}")
        served[await history.log.reader.position()] = await read(history.database, LIVE, p="p")

    follower = Follower("row_versions", row_versions.follow, history.log.reader, Listener(history.database), batch=500)
    assert await follower.catch_up() == 30

    for position, snapshot in served.items():
        assert await read(history.database, AT, p="p", at=position) == snapshot
    versions = await history.database.rows("SELECT from_position, to_position FROM row_versions WHERE id = 'f'")
    assert len(versions) == 28


async def test_staging_tables_end_empty_and_live_tables_stay(
    history: History,
) -> None:
    await varied_history(history)
    before = await read(history.database, LIVE, p="p")
    counters = await history.database.rows("SELECT * FROM counters ORDER BY project_id, scope, name")

    await follow(history)

    assert await read(history.database, LIVE, p="p") == before
    assert await history.database.rows("SELECT * FROM counters ORDER BY project_id, scope, name") == counters
    for table in ("functions", "variables", "deployments", "counters", "projects", "changes"):
        assert await history.database.rows(f"SELECT FROM {row_versions.STAGING_SCHEMA}.{table}") == []
