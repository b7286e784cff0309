"""The library's own application over the log: saving, loading, notification log, subscription."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from eventsourcing.application import AggregateNotFoundError
from eventsourcing.persistence import IntegrityError

from annals.store.log.application import LogApplication
from annals.store.log.log import EventLog
from annals.store.log.recorder import LogRecorder
from annals.store.postgres.listener import Listener
from tests.integration.store.conftest import META
from tests.integration.store.ledger import Account, close, key, open_account

STREAM = "account:p:a"


@pytest.fixture
async def application(log: EventLog) -> AsyncIterator[LogApplication]:
    async with Listener.open(log.database) as listener:
        yield LogApplication(log, listener)


def opened() -> Account:
    return open_account(None, account="a", name="Ann")[0]


async def test_it_saves_and_loads(application: LogApplication) -> None:
    def work() -> Account:
        account = opened()
        account.deposit(3)
        recordings = application.save(account)
        assert [recording.notification.id for recording in recordings] == [1, 2]
        found: Account = application.repository.get(STREAM)
        return found

    account = await asyncio.to_thread(work)

    assert (account.balance, account.version) == (3, 2)
    with pytest.raises(AggregateNotFoundError):
        await asyncio.to_thread(application.repository.get, "account:p:nobody")


async def test_a_conflict_is_the_librarys_integrity_error(application: LogApplication) -> None:
    await asyncio.to_thread(application.save, opened())

    with pytest.raises(IntegrityError):
        await asyncio.to_thread(application.save, opened())


async def test_it_loads_streams_that_began_again(application: LogApplication, log: EventLog) -> None:
    await asyncio.to_thread(application.save, opened())
    await log.run(close, key("a"), meta=META)
    former = await log.reader.aggregates([key("a")])

    def work() -> Account:
        application.save(*open_account(former[0], account="a", name="again"))  # type: ignore[arg-type]
        found: Account = application.repository.get(STREAM)
        return found

    assert (await asyncio.to_thread(work)).name == "again"


async def test_its_notification_log_pages_through_all(application: LogApplication) -> None:
    def work() -> list[str]:
        account = opened()
        for amount in range(12):
            account.deposit(amount)
        application.save(account)
        first = application.notification_log["1,10"]
        return [item.topic for item in first.items] + [first.next_id or ""]

    topics = await asyncio.to_thread(work)

    assert topics == ["account.opened", *["account.deposited"] * 9, "11,20"]


async def test_the_recorder_selects_as_the_library_asks(application: LogApplication) -> None:
    def work() -> None:
        account = opened()
        for amount in range(5):
            account.deposit(amount)
        application.save(account)
        recorder = application.recorder

        def versions(**options: Any) -> list[int]:
            return [event.originator_version for event in recorder.select_events(STREAM, **options)]

        def ids(*arguments: Any, **options: Any) -> list[int]:
            return [notification.id for notification in recorder.select_notifications(*arguments, **options)]

        assert versions() == [1, 2, 3, 4, 5, 6]
        assert versions(gt=2, lte=5) == [3, 4, 5]
        assert versions(desc=True, limit=2) == [6, 5]
        assert ids(2, 3) == [2, 3, 4]
        assert ids(2, 3, inclusive_of_start=False) == [3, 4, 5]
        assert ids(None, 10, stop=2) == [1, 2]
        assert ids(0, 10, topics=["account.opened"]) == [1]
        assert recorder.max_notification_id() == 6
        assert recorder.insert_events([]) == []

    await asyncio.to_thread(work)


async def test_a_subscription_yields_what_was_and_what_comes(application: LogApplication, log: EventLog) -> None:
    assert isinstance(application.recorder, LogRecorder)
    assert application.recorder.max_notification_id is not None

    def follow() -> list[str]:
        with application.recorder.subscribe(gt=0) as subscription:
            return [next(subscription).topic for _ in range(3)]

    await asyncio.to_thread(application.save, opened())
    following = asyncio.create_task(asyncio.to_thread(follow))

    def more() -> None:
        account: Account = application.repository.get(STREAM)
        account.deposit(1)
        account.close()
        application.save(account)

    await asyncio.to_thread(more)

    assert await asyncio.wait_for(following, 60) == ["account.opened", "account.deposited", "account.closed"]
