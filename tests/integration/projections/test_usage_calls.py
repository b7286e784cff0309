"""The cube of calls: a migration after the upgrade fills it, and then it equals a cube from the beginning."""

from datetime import timedelta

import psycopg

from annals.projections.replay.replay import check
from annals.projections.usage.answer import answer
from annals.store.log.log import EventLog
from annals.store.postgres.migrate import available
from tests.integration.projections.test_usage_analytics import END, agrees, asked, filled_log, follow

__all__ = ["filled_log"]

MIGRATION = "0028_post_usage_calls.sql"
ROWS = "SELECT count(*) FROM usage_calls"
QUESTION = asked(END - timedelta(days=40), END, "day", zone="Europe/Berlin", group_by=["trigger", "function"])


async def test_cube_of_calls_includes_earlier_cells(filled_log: EventLog, database_url: str) -> None:
    (migration,) = [each for each in available() if each.name == MIGRATION]
    await filled_log.database.execute("DELETE FROM schema_migrations WHERE name = %s", (MIGRATION,))
    await follow(filled_log, batch=400, most=4)
    assert await filled_log.database.value(ROWS) == 0
    agrees(QUESTION, await answer(filled_log.database, filled_log.reader, QUESTION))

    with psycopg.connect(database_url) as conn:
        conn.execute(migration.text.encode())
        conn.execute(
            "INSERT INTO schema_migrations (number, name, digest) VALUES (%s, %s, %s)",
            (migration.number, migration.name, migration.digest),
        )

    assert await filled_log.database.value(ROWS) > 0
    agrees(QUESTION, await answer(filled_log.database, filled_log.reader, QUESTION))
    await follow(filled_log)
    agrees(QUESTION, await answer(filled_log.database, filled_log.reader, QUESTION))
    found = await check(filled_log.database, filled_log.reader, ["usage"], report=lambda _progress: None)
    assert [comparison for comparison in found if not comparison.same] == []
