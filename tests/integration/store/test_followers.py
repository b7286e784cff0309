"""Followers on a real log: in order, at least once, together with their checkpoint, through any crash."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from structlog.testing import capture_logs

from annals.store.log.follower import Follower, PoisonedBy, reached
from annals.store.log.log import EventLog
from annals.store.log.reader import RecordedEvent
from annals.store.postgres.database import Connection, Database
from annals.store.postgres.listener import Listener
from tests.integration.store.conftest import META
from tests.integration.store.ledger import Account, absent, deposit, key, open_account

NOTES_ARE_LOST = (
    "CREATE SEQUENCE lost",
    "CREATE FUNCTION lose() RETURNS trigger LANGUAGE plpgsql AS"
    " $$ BEGIN PERFORM nextval('lost'); RAISE EXCEPTION USING ERRCODE = 'admin_shutdown'; END $$",
    "CREATE TRIGGER lose BEFORE INSERT OR UPDATE ON checkpoints"
    " FOR EACH ROW WHEN (NEW.error <> '') EXECUTE FUNCTION lose()",
)
"""A trigger that simulates an outage whenever a follower records an error; the sequence survives the rollback."""


class Sums:
    """A read model of a follower: the sum of deposits by account."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.refuses: Callable[[RecordedEvent], Exception | None] = lambda _recorded_event: None

    async def handle(self, conn: Connection, recorded_events: Sequence[RecordedEvent]) -> None:
        self.batches.append([recorded_event.position for recorded_event in recorded_events])
        for recorded_event in recorded_events:
            if error := self.refuses(recorded_event):
                raise error
            if isinstance(recorded_event.event, Account.Deposited):
                await conn.execute(
                    "INSERT INTO sums VALUES (%s, %s)",
                    (recorded_event.event.originator_id, recorded_event.event.amount),
                )

    @property
    def positions(self) -> list[int]:
        return [position for batch in self.batches for position in batch]


@pytest.fixture
async def sums(log: EventLog) -> Sums:
    await log.database.execute("CREATE TABLE sums (stream text, amount bigint)")
    return Sums()


@pytest.fixture
async def listener(log: EventLog) -> AsyncIterator[Listener]:
    async with Listener.open(log.database) as opened:
        yield opened


async def deposits(log: EventLog, count: int) -> None:
    if await log.load(absent("a")) is None:
        await log.run(open_account, absent("a"), meta=META, account="a")
    for _ in range(count):
        await log.run(deposit, key("a"), meta=META, amount=1)


async def total(database: Database) -> int:
    return int(await database.value("SELECT coalesce(sum(amount), 0) FROM sums"))


async def until(condition: Callable[[], Any], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not await condition():
        assert time.monotonic() < deadline
        await asyncio.sleep(0.01)


async def test_follower_handles_the_log_in_order_and_continues_at_its_checkpoint(
    log: EventLog, listener: Listener, sums: Sums
) -> None:
    await deposits(log, 7)
    follower = Follower("sums", sums.handle, log.reader, listener, batch=3)

    assert [await follower.catch_up() for _ in range(4)] == [3, 3, 2, 0]

    again = Follower("sums", sums.handle, log.reader, listener)
    assert await again.catch_up() == 0
    assert sums.positions == [recorded_event.position for recorded_event in await log.reader.after(0, 100)]
    assert await total(log.database) == 7
    assert follower.position == await log.reader.position()


async def test_commit_wakes_an_idle_follower_at_once(log: EventLog, listener: Listener, sums: Sums) -> None:
    await until(lambda: _true(listener.count > 0))
    running = asyncio.create_task(Follower("sums", sums.handle, log.reader, listener, poll_seconds=600).run())
    await deposits(log, 1)

    assert await reached(log.database, "sums", await log.reader.position(), seconds=60)
    running.cancel()


async def test_two_copies_share_the_work_without_doing_it_twice(log: EventLog, listener: Listener, sums: Sums) -> None:
    await deposits(log, 30)
    copies = [Follower("sums", sums.handle, log.reader, listener, batch=2) for _ in range(2)]

    await asyncio.gather(*(_to_the_end(copy) for copy in copies))

    assert await total(log.database) == 30
    assert len(sums.positions) == 31


async def test_writes_of_a_failed_handler_are_rolled_back(log: EventLog, listener: Listener, sums: Sums) -> None:
    await deposits(log, 3)
    failing = iter([OSError("the disk is away")])
    last = await log.reader.position()
    sums.refuses = lambda recorded_event: next(failing, None) if recorded_event.position == last else None
    follower = Follower("sums", sums.handle, log.reader, listener)

    with pytest.raises(OSError, match="away"):
        await follower.catch_up()
    assert await total(log.database) == 0

    await follower.catch_up()
    assert await total(log.database) == 3


async def test_poisoned_event_stops_its_follower_visibly_and_no_other(
    log: EventLog, listener: Listener, sums: Sums
) -> None:
    await deposits(log, 6)
    poison = (await log.reader.after(0, 100))[4].position
    sums.refuses = lambda recorded_event: ValueError("cannot take this") if recorded_event.position == poison else None
    others = Sums()

    with capture_logs():  # what tests print is sent between processes, which takes no half of a character
        await asyncio.wait_for(Follower("sums", sums.handle, log.reader, listener).run(), 60)

    row = await log.database.row("SELECT position, error FROM checkpoints WHERE name = 'sums'")
    assert row is not None
    assert row["position"] < poison
    assert "cannot take this" in row["error"]
    assert await total(log.database) == 3  # all before it
    assert await Follower("others", others.handle, log.reader, listener).catch_up() == 7

    sums.refuses = lambda _recorded_event: None
    cured = Follower("sums", sums.handle, log.reader, listener)
    assert await cured.catch_up() > 0
    assert await log.database.value("SELECT error FROM checkpoints WHERE name = 'sums'") == ""


async def test_poisonous_event_is_noted_once_postgres_is_back(log: EventLog, listener: Listener, sums: Sums) -> None:
    await deposits(log, 1)
    sums.refuses = lambda _recorded_event: ValueError("cannot take this")
    for statement in NOTES_ARE_LOST:
        await log.database.execute(statement)
    running = asyncio.create_task(Follower("sums", sums.handle, log.reader, listener).run())
    await until(lambda: log.database.value("SELECT is_called FROM lost"))
    assert not running.done()

    await log.database.execute("DROP TRIGGER lose ON checkpoints")

    await asyncio.wait_for(running, 60)
    assert "cannot take this" in await log.database.value("SELECT error FROM checkpoints WHERE name = 'sums'")


async def test_poison_is_recorded_before_the_first_checkpoint_with_any_error_text(
    log: EventLog, listener: Listener, sums: Sums
) -> None:
    await deposits(log, 1)
    sums.refuses = lambda _recorded_event: ValueError("no text for Postgres: \0\ud800")

    with capture_logs():  # what tests print is sent between processes, which takes no half of a character
        await asyncio.wait_for(Follower("sums", sums.handle, log.reader, listener).run(), 60)

    row = await log.database.row("SELECT position, error FROM checkpoints WHERE name = 'sums'")
    assert row is not None
    assert row["position"] == 0
    assert row["error"].endswith("no text for Postgres: \ufffd?")


async def test_unreadable_event_is_poisonous(log: EventLog, listener: Listener, sums: Sums) -> None:
    await deposits(log, 1)
    await log.database.execute(
        "INSERT INTO events (originator_id, originator_version, topic, state, recorded_at)"
        " VALUES ('x:p:1', 1, 'x.unheard_of', '{}', now())"
    )
    follower = Follower("sums", sums.handle, log.reader, listener)

    with pytest.raises(PoisonedBy, match=r"x\.unheard_of"):
        await follower.catch_up()

    assert await total(log.database) == 1  # what came before it is done
    assert follower.position == await log.reader.position() - 1


async def test_follower_survives_the_loss_of_every_connection(log: EventLog, listener: Listener, sums: Sums) -> None:
    await deposits(log, 2)
    running = asyncio.create_task(Follower("sums", sums.handle, log.reader, listener, poll_seconds=0.1).run())
    assert await reached(log.database, "sums", await log.reader.position(), seconds=60)

    await log.database.rows(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    await deposits(log, 2)

    assert await reached(log.database, "sums", await log.reader.position(), seconds=60)
    assert await total(log.database) == 4
    running.cancel()


async def _to_the_end(follower: Follower) -> None:
    while await follower.catch_up():
        pass


async def _true(value: bool) -> bool:
    return value
