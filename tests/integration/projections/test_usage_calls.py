"""The cube of calls: it begins when the former program is gone, and is then as if it had always been there."""

from datetime import timedelta

import psycopg

from annals.projections.replay.replay import check
from annals.projections.usage.answer import answer
from annals.store.log.log import EventLog
from annals.store.postgres.migrate import available
from tests.integration.projections.test_usage_analytics import END, agrees, asked, follow, told

__all__ = ["told"]

MIGRATION = "0028_post_usage_calls.sql"
ROWS = "SELECT count(*) FROM usage_calls"
QUESTION = asked(END - timedelta(days=40), END, "day", zone="Europe/Berlin", group_by=["trigger", "function"])


async def test_it_begins_with_what_was_booked_before(told: EventLog, database_url: str) -> None:
    (migration,) = [each for each in available() if each.name == MIGRATION]
    await told.database.execute("DELETE FROM schema_migrations WHERE name = %s", (MIGRATION,))
    await follow(told, batch=400, most=4)
    assert await told.database.value(ROWS) == 0
    agrees(QUESTION, await answer(told.database, told.reader, QUESTION))

    with psycopg.connect(database_url) as conn:
        conn.execute(migration.text.encode())
        conn.execute(
            "INSERT INTO schema_migrations (number, name, digest) VALUES (%s, %s, %s)",
            (migration.number, migration.name, migration.digest),
        )

    assert await told.database.value(ROWS) > 0
    agrees(QUESTION, await answer(told.database, told.reader, QUESTION))
    await follow(told)
    agrees(QUESTION, await answer(told.database, told.reader, QUESTION))
    found = await check(told.database, told.reader, ["usage"], report=lambda _progress: None)
    assert [comparison for comparison in found if not comparison.same] == []
