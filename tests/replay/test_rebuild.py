"""Rebuilds of read models give the same rows, after any history and while the log grows."""

import asyncio
from typing import Any

import psycopg
import pytest

from annals.domain.commands.executions import sweep_executions
from annals.domain.errors import FunctionAlreadyExists
from annals.domain.retention import Retention
from annals.projections import row_versions
from annals.projections.following import FOLLOWING
from annals.projections.inline import TABLES
from annals.projections.replay import refill, staging_tables
from annals.projections.replay.refill import Progress
from annals.projections.replay.replay import NAMES, AlreadyReplaying, check, rebuild
from annals.store.log.follower import Follower
from annals.store.postgres.database import Database
from annals.store.postgres.listener import Listener
from tests.integration.projections.history import META, History, P


def silent(_progress: Progress) -> None:
    """Ignore the progress."""


async def follow(history: History) -> None:
    for name, following in FOLLOWING.items():
        follower = Follower(name, following.handle, history.log.reader, Listener(history.database))
        while await follower.catch_up():
            pass


async def varied_history(history: History) -> None:
    await history.function(schedule="0 * * * *", execute=["any", "users"])
    await history.function("g")
    await history.add_variable("v1", "KEY")
    await history.deploy("d1")
    await history.upload("d2", activate=False)
    await history.deploy("d3", "g")
    for number in range(5):
        await history.run(f"e{number}")
    await history.request("waiting")
    await history.request("g1", "g")
    await history.delete_function("g")
    await history.function("g")
    await history.request("g2", "g")
    for function, incarnation, up_to in (("f", history.incarnations["f"], 40), ("g", 4, 1000)):
        await history.log.run(
            sweep_executions,
            Retention.key(P),
            meta=META,
            project_id=P,
            function_id=function,
            incarnation=incarnation,
            up_to=up_to,
            reason="function_deleted" if function == "g" else "age",
        )


async def test_check_of_correct_tables_finds_no_difference(history: History) -> None:
    await varied_history(history)
    await follow(history)
    seen: list[Progress] = []

    found = await check(history.database, history.log.reader, report=seen.append)

    assert [comparison for comparison in found if not comparison.same] == []
    compared = {comparison.table: comparison.live for comparison in found}
    assert compared["functions"] == 2
    assert compared["executions"] > 0
    assert compared["usage_totals"] > 0
    assert {progress.model for progress in seen} == {"inline", *FOLLOWING}
    assert seen[-1].position == seen[-1].newest
    schemas = await history.database.rows("SELECT nspname FROM pg_namespace WHERE nspname ~ '^annals'")
    assert schemas == [{"nspname": row_versions.STAGING_SCHEMA}]  # a rebuild's schema is dropped


async def test_check_reports_different_rows(history: History) -> None:
    await varied_history(history)
    await follow(history)
    await history.database.execute("UPDATE functions SET name = 'Forged' WHERE function_id = 'f'")
    await history.database.execute("DELETE FROM usage_totals WHERE metric = 'executions'")

    found = await check(history.database, history.log.reader, report=silent)

    different = {comparison.table: comparison for comparison in found if not comparison.same}
    assert set(different) == {"functions", "usage_totals"}
    assert "Forged" in different["functions"].only_live[0]
    assert "Hello" in different["functions"].only_rebuilt[0]
    assert different["usage_totals"].rebuilt > different["usage_totals"].live


async def test_lagging_follower_is_compared_at_its_position(history: History) -> None:
    await history.function()
    await follow(history)
    await history.deploy("d1")
    await history.run("e1")

    found = await check(history.database, history.log.reader, ["usage", "schedules"], report=silent)

    assert all(comparison.same for comparison in found)
    totals = {comparison.table: comparison.live for comparison in found}
    assert totals["usage_totals"] == 1


async def test_rebuild_restores_lost_rows_and_writes_continue(history: History) -> None:
    await varied_history(history)
    await follow(history)
    for table in ("functions", "deployments", "executions", "counters", "usage_cells", "schedules"):
        await history.database.execute(f"DELETE FROM {table}")  # noqa: S608 - names of ours

    switched = await rebuild(history.database, history.log.reader, report=silent)

    assert set(switched) > {"functions", "executions", "usage_cells"}
    assert (await history.the("functions", "f"))["name"] == "Hello"
    with pytest.raises(FunctionAlreadyExists):  # the constraint is there, under its name
        await history.function()
    await history.run("after")
    assert (await history.the("executions", "after"))["status"] == "completed"
    await follow(history)
    assert all(c.same for c in await check(history.database, history.log.reader, report=silent))


async def test_single_table_can_be_rebuilt(history: History) -> None:
    await varied_history(history)
    await history.database.execute("UPDATE functions SET name = 'Forged'")
    await history.database.execute("UPDATE deployments SET entrypoint = 'kept'")

    assert await rebuild(history.database, history.log.reader, ["functions"], report=silent) == ["functions"]

    assert (await history.the("functions", "f"))["name"] == "Hello"
    assert (await history.the("deployments", "d1"))["entrypoint"] == "kept"


async def test_rebuilt_tables_have_columns_keys_and_indexes_of_live_tables(history: History) -> None:
    await varied_history(history)
    shape = """SELECT * FROM (
        SELECT 'column' AS kind, table_name || '.' || column_name AS name,
            concat_ws(' ', data_type, is_nullable, column_default, generation_expression) AS definition
        FROM information_schema.columns WHERE table_schema = 'public'
        UNION ALL SELECT 'index', indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'
        UNION ALL SELECT 'constraint', conname, pg_get_constraintdef(oid) FROM pg_constraint
            WHERE connamespace = 'public'::regnamespace
        UNION ALL SELECT 'storage', relname, array_to_string(reloptions, ',') FROM pg_class
            WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
    ) shape ORDER BY 1, 2, 3"""
    before = await history.database.rows(shape)

    await rebuild(history.database, history.log.reader, report=silent)

    assert await history.database.rows(shape) == before


async def test_writers_and_readers_continue_during_a_rebuild(history: History) -> None:
    await history.function()
    stop = asyncio.Event()

    async def write(worker: int) -> int:
        done = 0
        while not stop.is_set():
            await history.run(f"w{worker}-{done}")
            assert await history.row("executions", f"w{worker}-{done}") is not None
            done += 1
        return done

    writers = [asyncio.create_task(write(worker)) for worker in range(4)]
    for _ in range(3):
        await rebuild(history.database, history.log.reader, ["executions", "counters"], report=silent)
        assert all(c.same for c in await check(history.database, history.log.reader, report=silent))
    stop.set()
    written = sum(await asyncio.gather(*writers))

    assert written > 0
    assert await history.count("executions") == written
    assert len(await history.database.rows("SELECT FROM executions")) == written


@pytest.mark.parametrize(("projection", "table"), [("executions", "executions"), ("usage", "usage_totals")])
async def test_busy_table_is_switched_at_a_later_attempt(
    history: History, monkeypatch: pytest.MonkeyPatch, projection: str, table: str
) -> None:
    monkeypatch.setattr("annals.projections.replay.replay._LOCK_TIMEOUT_MS", 50)
    await varied_history(history)
    await follow(history)
    busy: list[str] = []
    switch = staging_tables.switch
    reader = await history.database.connect("reader")

    async def watched(*args: Any, **more: Any) -> None:
        await history.run(f"meanwhile-{len(busy)}") if projection == "usage" else None
        try:
            await switch(*args, **more)
        except staging_tables.TablesBusy as error:
            busy.append(str(error))
            if len(busy) == 2:
                await reader.rollback()
            raise

    monkeypatch.setattr(staging_tables, "switch", watched)
    await reader.execute("BEGIN")
    await reader.execute(f"SELECT * FROM {table}")  # noqa: S608 - names of ours
    try:
        await rebuild(history.database, history.log.reader, [projection], report=silent)
    finally:
        await reader.close()

    assert len(busy) == 2
    await follow(history)
    assert all(c.same for c in await check(history.database, history.log.reader, report=silent))


async def test_table_that_stays_busy_is_unchanged(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("annals.projections.replay.replay._LOCK_TIMEOUT_MS", 20)
    await varied_history(history)
    await history.database.execute("UPDATE functions SET name = 'Kept' WHERE function_id = 'f'")
    reader = await history.database.connect("reader")
    await reader.execute("BEGIN")
    await reader.execute("SELECT * FROM functions")
    try:
        with pytest.raises(staging_tables.TablesBusy):
            await rebuild(history.database, history.log.reader, ["functions"], report=silent)
    finally:
        await reader.close()

    assert (await history.the("functions", "f"))["name"] == "Kept"
    await history.run("after")


async def no_staging_table_is_left(history: History) -> bool:
    return not await history.database.rows("SELECT FROM pg_namespace WHERE nspname = %s", (staging_tables.SCHEMA,))


async def test_interrupted_rebuild_leaves_no_staging_table(history: History, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refill, "BATCH", 4)
    await varied_history(history)
    await history.database.execute("UPDATE functions SET name = 'Kept' WHERE function_id = 'f'")

    def interrupted(progress: Progress) -> None:
        if progress.events >= 24:
            raise asyncio.CancelledError

    with pytest.raises(asyncio.CancelledError):  # while the rows of a batch are being written
        await rebuild(history.database, history.log.reader, TABLES, report=interrupted)

    assert await no_staging_table_is_left(history)
    assert (await history.the("functions", "f"))["name"] == "Kept"
    assert await rebuild(history.database, history.log.reader, TABLES, report=silent) == [*TABLES]


@pytest.mark.parametrize("batch", [4, 2000])
async def test_row_that_postgres_rejects_ends_a_rebuild(
    history: History, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    monkeypatch.setattr(refill, "BATCH", batch)
    await varied_history(history)
    await history.database.execute(
        "ALTER TABLE executions ADD CONSTRAINT no_fourth CHECK (execution_id <> 'e4') NOT VALID"
    )

    with pytest.raises(psycopg.errors.CheckViolation, match="no_fourth"):
        await rebuild(history.database, history.log.reader, TABLES, report=silent)

    assert await no_staging_table_is_left(history)
    assert (await history.the("executions", "waiting"))["status"] == "waiting"


async def test_second_replay_at_the_same_time_is_an_error(history: History, database: Database) -> None:
    await history.function()
    entered, leave = asyncio.Event(), asyncio.Event()

    class Slow:
        def __getattr__(self, name: str) -> object:
            return getattr(history.log.reader, name)

        async def after(self, *args: object, **more: object) -> object:
            entered.set()
            await leave.wait()
            return await history.log.reader.after(*args, **more)  # type: ignore[arg-type]

    first = asyncio.create_task(check(database, Slow(), ["functions"], report=silent))  # type: ignore[arg-type]
    await asyncio.wait_for(entered.wait(), 20)
    with pytest.raises(AlreadyReplaying):
        await check(database, history.log.reader, ["functions"], report=silent)
    leave.set()
    assert all(c.same for c in await first)


async def test_unknown_name_is_an_error_that_lists_the_names(history: History) -> None:
    with pytest.raises(ValueError, match=r"functionz.*executions"):
        await check(history.database, history.log.reader, ["functionz"], report=silent)


def test_names_include_every_projection() -> None:
    assert {"functions", "executions", "usage", "schedules"} <= set(NAMES)
