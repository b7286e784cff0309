"""Pipelines: one transaction, in which each statement sees all earlier commits, also after errors."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import psycopg
import pytest
from psycopg.types.json import Jsonb

from annals.store.postgres import connection
from annals.store.postgres.connection import Connection, Step
from annals.store.postgres.database import Database

LOCKED: Step = ("SELECT pg_advisory_xact_lock(7)", {})
COUNTED: Step = ("SELECT count(*) AS n FROM things", {})
WRONG: Step = ("SELECT 1 / %(zero)s::int", {"zero": 0})


def thing(n: int) -> Step:
    return "INSERT INTO things VALUES (%(n)s) RETURNING n", {"n": n}


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[Connection]:
    await database.execute("CREATE TABLE things (n bigint PRIMARY KEY)")
    conn = await database.connect("trips")
    try:
        yield conn
    finally:
        await conn.close()


async def things(database: Database) -> list[int]:
    return [row["n"] for row in await database.rows("SELECT n FROM things ORDER BY n")]


async def test_each_step_has_its_rows_in_order(conn: Connection) -> None:
    for _ in range(4):  # sent plainly, then prepared, then as prepared
        found = await conn.run_pipeline(
            [("SELECT %(a)s::int AS a, 'x' AS b", {"a": 5}), ("SELECT 1 WHERE false", ()), COUNTED]
        )

        assert found == [[{"a": 5, "b": "x"}], [], [{"n": 0}]]


async def test_pipelines_with_more_statements_than_a_connection_remembers_work(conn: Connection) -> None:
    for _ in range(12):  # psycopg prepares of itself what it is asked to execute that often
        found = await conn.run_pipeline([("SELECT %(n)s::int AS n", {"n": n}) for n in range(connection.PLANS + 1)])

        assert found[-1] == [{"n": connection.PLANS}]


async def test_pipelines_return_the_same_values_as_cursors(conn: Connection) -> None:
    moment = datetime(2026, 2, 3, 4, 5, 6, 7000, tzinfo=UTC)
    params: Mapping[str, object] = {
        "small": 1,
        "large": 2**40,
        "negative": -(2**20),
        "decimal": Decimal("1.50"),
        "double": 0.1,
        "text": 'ä"\\',
        "raw": b"\0\xff",
        "moment": moment,
        "span": timedelta(seconds=3),
        "truth": True,
        "nothing": None,
        "texts": ["a", "", None, "ü"],
        "raws": [b"", b"\0"],
        "empty": [],
        "json": Jsonb({"a": [1, None]}),
    }
    text = "SELECT " + ", ".join(f"%({name})b AS {name}" for name in params if name not in {"nothing", "empty"})
    text += ", %(nothing)s::text AS nothing, %(empty)s::text[] AS empty"

    cursor = await conn.execute(text, params, binary=True)
    for _ in range(3):
        assert await conn.run_pipeline([(text, params)]) == [await cursor.fetchall()]
        cursor = await conn.execute(text, params, binary=True)


async def test_pipeline_commits_all_of_its_steps_or_none(conn: Connection, database: Database) -> None:
    with pytest.raises(psycopg.errors.DivisionByZero):
        await conn.run_pipeline([thing(1), WRONG, thing(2)])

    assert await things(database) == []
    assert conn.info.transaction_status == psycopg.pq.TransactionStatus.IDLE
    assert await conn.run_pipeline([thing(1), thing(2)]) == [[{"n": 1}], [{"n": 2}]]
    assert await things(database) == [1, 2]


async def test_error_of_the_commit_is_raised_and_nothing_is_recorded(conn: Connection, database: Database) -> None:
    await database.execute("ALTER TABLE things ADD CONSTRAINT later UNIQUE (n) DEFERRABLE INITIALLY DEFERRED")
    await database.execute("ALTER TABLE things DROP CONSTRAINT things_pkey")

    with pytest.raises(psycopg.errors.UniqueViolation):
        await conn.run_pipeline([thing(1), thing(1)])

    assert await things(database) == []
    assert await conn.run_pipeline([thing(1)]) == [[{"n": 1}]]


async def test_step_after_a_lock_sees_the_commits_of_its_holder(conn: Connection, database: Database) -> None:
    async with database.connection() as holder:
        await holder.execute("BEGIN")
        await holder.execute(*LOCKED)
        waiting = asyncio.create_task(conn.run_pipeline([LOCKED, COUNTED, thing(2)]))
        await _until_waiting(database)
        await holder.execute("INSERT INTO things VALUES (1)")
        await holder.execute("COMMIT")

    _, counted, _ = await waiting

    assert counted == [{"n": 1}]


async def test_pipeline_in_a_transaction_is_part_of_it(conn: Connection, database: Database) -> None:
    await conn.run_pipeline([("BEGIN", ()), thing(1)])
    await conn.run_pipeline([thing(2)])
    assert await things(database) == []
    with pytest.raises(psycopg.errors.DivisionByZero):
        await conn.run_pipeline([thing(3), WRONG])
    with pytest.raises(psycopg.errors.InFailedSqlTransaction):
        await conn.run_pipeline([COUNTED])
    await conn.rollback()
    assert await things(database) == []

    await conn.run_pipeline([("BEGIN", ()), thing(1), ("COMMIT", ())])

    assert await things(database) == [1]


async def test_statement_without_its_parameters_is_not_sent(conn: Connection, database: Database) -> None:
    with pytest.raises(psycopg.ProgrammingError):
        await conn.run_pipeline([thing(1), ("SELECT %(absent)s", {})])

    assert await things(database) == []
    assert await conn.run_pipeline([COUNTED]) == [[{"n": 0}]]


async def test_stale_prepared_statement_is_prepared_again(conn: Connection, database: Database) -> None:
    for _ in range(3):
        with pytest.raises(psycopg.errors.UndefinedTable):
            await conn.run_pipeline([COUNTED, ("SELECT n FROM absent", ())])
    await database.execute("CREATE TABLE absent (n int)")

    assert await conn.run_pipeline([COUNTED, ("SELECT n FROM absent", ())]) == [[{"n": 0}], []]


async def test_pipelines_carry_megabytes_in_both_directions(conn: Connection) -> None:
    data = [bytes([number]) * 3_000_000 for number in range(4)]

    async with asyncio.timeout(20):
        for _ in range(3):
            found = await conn.run_pipeline([("SELECT %(data)b AS data", {"data": one}) for one in data])
            assert [rows[0]["data"] for rows in found] == data


async def test_notices_of_a_pipeline_reach_their_handler(conn: Connection) -> None:
    heard: list[str | None] = []
    conn.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    await conn.run_pipeline([("CREATE TABLE IF NOT EXISTS things (n bigint)", ()), COUNTED])

    assert heard == ['relation "things" already exists, skipping']


async def test_broken_connection_is_closed_and_its_pipeline_is_rolled_back(
    conn: Connection, database: Database
) -> None:
    with pytest.raises(psycopg.OperationalError):
        await conn.run_pipeline([thing(1), ("SELECT pg_terminate_backend(pg_backend_pid())", ()), thing(2)])

    assert conn.closed
    assert await things(database) == []
    with pytest.raises(psycopg.OperationalError):
        await conn.run_pipeline([COUNTED])


async def test_cancelled_pipeline_closes_its_connection(conn: Connection, database: Database) -> None:
    waiting = asyncio.create_task(conn.run_pipeline([thing(1), ("SELECT pg_sleep(30)", ())]))
    while not await database.value("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"):
        await asyncio.sleep(0.01)
    waiting.cancel()

    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert conn.closed


async def test_deallocated_statement_is_prepared_again(conn: Connection, database: Database) -> None:
    for n in range(3):
        await conn.run_pipeline([thing(n)])
    await conn.execute("DEALLOCATE ALL")

    await conn.run_pipeline([COUNTED, thing(3)])

    assert await things(database) == [0, 1, 2, 3]


async def test_pipeline_after_a_migration_returns_the_new_columns(conn: Connection, database: Database) -> None:
    everything: Step = ("SELECT * FROM things", ())
    await conn.run_pipeline([thing(1)])
    for _ in range(3):
        assert await conn.run_pipeline([everything]) == [[{"n": 1}]]
    await database.execute("ALTER TABLE things ADD COLUMN name text DEFAULT 'a'")

    assert await conn.run_pipeline([thing(2), everything]) == [
        [{"n": 2}],
        [{"n": 1, "name": "a"}, {"n": 2, "name": "a"}],
    ]
    assert await things(database) == [1, 2]


async def test_no_connection_keeps_ever_more_prepared(conn: Connection) -> None:
    for number in range(connection.PLANS + 50):
        step: Step = (f"SELECT {number} AS n", ())
        assert await conn.run_pipeline([step, step]) == [[{"n": number}]] * 2

    ((row,),) = await conn.run_pipeline([("SELECT count(*) AS n FROM pg_prepared_statements", ())])
    assert 0 < row["n"] <= connection.PLANS


async def _until_waiting(database: Database) -> None:
    async with asyncio.timeout(60):
        while not await database.value("SELECT count(*) FROM pg_locks WHERE NOT granted"):
            await asyncio.sleep(0.01)
