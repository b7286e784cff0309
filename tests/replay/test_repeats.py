"""Statements and handlers may run twice: the second time changes nothing."""

from annals.projections import inline, schedules
from annals.projections.replay import staging_tables
from annals.store.log.follower import Follower
from annals.store.postgres.listener import Listener
from tests.integration.projections.history import History
from tests.replay.test_rebuild import varied_history


async def test_every_inline_statement_is_idempotent(history: History) -> None:
    await varied_history(history)
    recorded_events = await history.log.reader.after(0, 1000)
    conn = await history.database.connect("twice")
    try:
        await staging_tables.create(conn, inline.TABLES)
        for recorded_event in recorded_events:
            for _ in range(2):
                for statement in inline.project(recorded_event.event):
                    await conn.execute(statement.sql, statement.params)

        compared = [await staging_tables.compare(conn, table) for table in inline.TABLES]
        assert [comparison for comparison in compared if not comparison.same] == []
        assert {c.table for c in compared if c.live} >= {"projects", "keys", "functions", "variables", "executions"}
    finally:
        await conn.rollback()
        await staging_tables.drop(conn)
        await conn.close()


async def test_follower_that_starts_again_gives_the_same_rows(history: History) -> None:
    await varied_history(history)
    follower = Follower("schedules", schedules.follow, history.log.reader, Listener(history.database), batch=3)
    rows = []
    for _ in range(2):
        while await follower.catch_up():
            pass
        rows.append(await history.database.rows("SELECT * FROM schedules ORDER BY stream_id"))
        await history.database.execute("UPDATE checkpoints SET position = 0 WHERE name = 'schedules'")

    assert rows[0] == rows[1]
    assert rows[0] != []
