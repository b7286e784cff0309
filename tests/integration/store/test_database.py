"""Reads survive broken connections."""

import asyncio
from contextlib import suppress

import pytest

from annals.store.errors import StoreUnavailable
from annals.store.postgres.database import Database
from tests.integration.postgres import Postgres
from tests.integration.workers.valkey import until


async def test_reads_continue_after_a_migration_changes_the_columns_of_a_prepared_statement(database: Database) -> None:
    await database.execute("CREATE TABLE growing (n int)")
    await database.execute("INSERT INTO growing VALUES (1)")
    for _ in range(20):
        assert await database.row("SELECT * FROM growing") == {"n": 1}

    await database.execute("ALTER TABLE growing ADD COLUMN m int DEFAULT 2")

    assert await asyncio.gather(*(database.row("SELECT * FROM growing") for _ in range(20))) == [{"n": 1, "m": 2}] * 20


async def test_reads_go_on_when_idle_connections_were_ended(database: Database) -> None:
    assert await database.value("SELECT 1") == 1
    kill = (
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await database.rows(kill)

    assert await asyncio.gather(*(database.value("SELECT 1") for _ in range(8))) == [1] * 8


async def test_transaction_whose_connection_ends_says_that_the_store_is_away(database: Database) -> None:
    async def ended_in_the_middle() -> None:
        async with database.transaction() as conn:
            pid = (await (await conn.execute("SELECT pg_backend_pid() AS pid")).fetchone() or {})["pid"]
            await database.rows("SELECT pg_terminate_backend(%s, 30000)", (pid,))
            await conn.execute("SELECT 1")

    with pytest.raises(StoreUnavailable):
        await ended_in_the_middle()
    assert await database.value("SELECT 1") == 1


async def test_reads_fail_during_an_outage_of_postgres_and_recover_on_their_own(
    database_url: str, postgres: Postgres
) -> None:
    database = await Database.open(database_url, retry_seconds=1.0)
    postgres.crash()
    try:
        with pytest.raises(StoreUnavailable):
            await database.value("SELECT 1")
    finally:
        postgres.start()

    async def reads() -> bool:
        with suppress(StoreUnavailable):
            return bool(await database.value("SELECT true"))
        return False

    await until(reads)
    await database.close()


async def test_missing_database_is_reported(postgres: Postgres) -> None:
    with pytest.raises(StoreUnavailable, match="cannot be reached"):
        await Database.open(postgres.url("absent"), retry_seconds=0.5)


async def test_session_of_a_client_that_is_gone_ends_and_lets_go_of_the_lock(database: Database) -> None:
    gone = await database.connect("gone")
    await gone.execute("SELECT pg_advisory_lock(7)")
    gone.pgconn.send_query(b"SELECT pg_sleep(600)")
    while gone.pgconn.flush():
        await asyncio.sleep(0.01)
    query = "SELECT count(*) FROM pg_stat_activity WHERE query = 'SELECT pg_sleep(600)' AND state = 'active'"

    async def sleeps() -> bool:
        return bool(await database.value(query))

    await until(sleeps)
    gone.pgconn.finish()

    async with asyncio.timeout(120):
        while not await database.value("SELECT pg_try_advisory_lock(7)"):
            await asyncio.sleep(0.05)
