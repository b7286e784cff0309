"""A failover to the synchronous standby, which has every acknowledged event."""

import asyncio
from itertools import count

from annals.store.errors import StoreUnavailable
from annals.store.log.group_append import GroupAppender
from annals.store.postgres.database import Database
from annals.store.postgres.migrate import migrate
from tests.integration.postgres import Replicated
from tests.integration.store.test_group_append import event, request
from tests.integration.store.test_standby import CANCEL, TERMINATE, appended_in_the_end, value_in_the_end


async def test_promoted_standby_has_all_that_was_acknowledged() -> None:
    """The standby stops and starts while writers wait and are canceled or terminated; then the primary dies."""
    pair = Replicated()
    try:
        migrate(pair.url())
        pair.replicate()
        database = await Database.open(pair.url(), retry_seconds=5.0)
        appender = GroupAppender(database, retry_seconds=5.0)
        acknowledged: list[str] = []
        unknown: list[str] = []
        ended = False

        async def write(writer: int) -> None:
            for number in count():
                if ended:
                    return
                stream = f"w{writer}:p:{number}"
                try:
                    await appender.append(request(event(stream)))
                    acknowledged.append(stream)
                except StoreUnavailable:
                    unknown.append(stream)
                    await asyncio.sleep(0.05)

        writers = [asyncio.create_task(write(n)) for n in range(8)]
        for end in (CANCEL, TERMINATE):
            answered = len(acknowledged)
            async with asyncio.timeout(120):
                while len(acknowledged) < answered + 50:
                    await asyncio.sleep(0.01)
            pair.standby.stop()
            for _ in range(3):
                await asyncio.to_thread(pair.waiting)
                pair.execute(end)
            if end == CANCEL:
                pair.standby.start()
        pair.crash()
        ended = True
        await asyncio.gather(*writers)
        await appender.close()
        await database.close()
        pair.standby.start()
        pair.standby.promote()

        promoted = await Database.open(pair.standby.url(), retry_seconds=60.0)
        rows = await promoted.rows("SELECT originator_id, notification_id FROM events")
        await promoted.close()
    finally:
        pair.close()

    assert unknown  # the premise
    assert {*acknowledged} <= {row["originator_id"] for row in rows}
    assert len(rows) == len({row["originator_id"] for row in rows})


async def test_processes_go_on_at_the_promoted_standby_when_the_url_names_both() -> None:
    pair = Replicated()
    try:
        pair.replicate()
        url = pair.url_of_both()
        migrate(url)
        database = await Database.open(url, retry_seconds=30.0)
        appender = GroupAppender(database, retry_seconds=30.0)
        await appender.append(request(event("before:p")))

        pair.crash()
        pair.standby.promote()

        await appended_in_the_end(appender, request(event("after:p")))
        streams = await value_in_the_end(
            database, "SELECT array_agg(originator_id ORDER BY notification_id) FROM events"
        )
        assert streams == ["before:p", "after:p"]
        await appender.close()
        await database.close()
    finally:
        pair.close()
